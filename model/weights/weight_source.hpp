// model/weights/weight_source.hpp — where the elements of a checkpoint tensor come from: mapped
// files (checkpoint.hpp) or a generator (random_source.hpp). The loader does all cutting, so that
// both sources see the same plan.
#pragma once

#include "model/weights/weight_plan.hpp"

#include "runtime/base/result.hpp"

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vdist::weights {

/// An open tensor. Its destructor gives back what reading it has touched (mapped pages).
class tensor_reader {
public:
  virtual ~tensor_reader() = default;

  /// Writes elements [first, first + count) of the stored tensor (its own row-major order) to
  /// `destination` as `type`, which must be aligned for it. Returns false if a finite element does
  /// not fit the type's range (float16).
  [[nodiscard]] virtual bool read(std::int64_t first,
                                  std::int64_t count,
                                  kernels::dtype type,
                                  std::byte* destination) const noexcept = 0;
};

/// Borrowed by its readers: must outlive them. Thread-safe.
class weight_source {
public:
  virtual ~weight_source() = default;

  /// Finds the tensor under one of its names and checks shape and type. errc::not_found names all
  /// candidates.
  [[nodiscard]] virtual result<std::unique_ptr<tensor_reader>> open(const tensor_ref& tensor,
                                                                    weight_role role) const = 0;
};

} // namespace vdist::weights
