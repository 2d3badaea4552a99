// model/weights/weight_source.hpp — where the elements of a checkpoint tensor come from: files
// (checkpoint.hpp) or a generator (random_source.hpp). The loader does all cutting, so that both
// sources see the same plan.
#pragma once

#include "model/weights/weight_plan.hpp"

#include "runtime/base/result.hpp"

#include "kernels/dtype.hpp"
#include "kernels/random/random_fill.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace vdist::weights {

/// A rectangle of a stored tensor, in elements of the tensor's own row-major order: `lines` runs of
/// `count` elements, the first at `first`, each `stride` behind the one before it.
struct tensor_block {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t lines = 1;
  std::int64_t stride = 0; // at least count; without meaning for one line
};

/// Where a block goes: line i to `data + i * stride` bytes. Lines do not overlap.
struct block_target {
  std::byte* data = nullptr;                     // aligned for `type`
  std::size_t stride = 0;                        // bytes
  kernels::dtype type = kernels::dtype::float32; // that the elements are converted to
};

/// An open tensor, for one thread. Holds at most one file and one bounded buffer.
class tensor_reader {
public:
  virtual ~tensor_reader() = default;

  /// Reads every line of the block into the target. errc::unsupported: a finite element does not
  /// fit the type's range (float16); corrupt, io_failed: the file is not what it was, or cannot be
  /// read. Errors name file and tensor; the target's content is then undefined.
  [[nodiscard]] virtual result<void> read(const tensor_block& block,
                                          const block_target& target) = 0;
};

/// Borrowed by its readers: must outlive them. Thread-safe.
class weight_source {
public:
  virtual ~weight_source() = default;

  /// Finds the tensor under one of its names and checks shape and type; reads nothing yet.
  /// errc::not_found names all candidates.
  [[nodiscard]] virtual result<std::unique_ptr<tensor_reader>> open(const tensor_ref& tensor,
                                                                    weight_role role) const = 0;

  /// What the elements of the tensor follow, if a device can generate them by itself: element i of
  /// the stored order is that of index i. Otherwise nothing, and only a reader has them.
  [[nodiscard]] virtual std::optional<kernels::random_fill_rule> rule(const tensor_ref& /*tensor*/,
                                                                      weight_role /*role*/) const {
    return std::nullopt;
  }
};

} // namespace vdist::weights
