// model/weights/load_weights.hpp — fills a rank's weight region from a source, as its plan says:
// cuts, transposes, converts, pads with zeros. The region is host memory; a device backend stages
// single weights with load_weight.
// L-1 The plan is cut into pieces of at most load_piece_bytes, whatever the size of its weights, and
// the threads take one after the other: one large tensor keeps all of them busy.
// L-2 Besides the region a thread holds read_buffer_bytes to convert and transpose_bytes to
// transpose, no more: a worker's peak is its shard and a constant.
// Cost: reads the bytes of the slices once, writes plan.bytes once.
#pragma once

#include "model/weights/loading_threads.hpp"
#include "model/weights/weight_plan.hpp"
#include "model/weights/weight_source.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace vdist::weights {

struct load_options {
  std::int32_t threads = 1; // at most max_load_threads; the result does not depend on it
  /// Called with (bytes written, plan.bytes) after every piece, and at the end. Calls come from the
  /// loading threads, never two at once, with rising numbers.
  std::function<void(std::size_t bytes_done, std::size_t bytes_total)> progress;
};

/// Large enough for one request of the disk, small enough to share out evenly.
inline constexpr std::size_t load_piece_bytes = std::size_t{4} << 20;
inline constexpr std::size_t transpose_bytes = std::size_t{256} << 10;

/// Fills region[0, plan.bytes), alignment gaps with zeros. On an error the region's content is
/// undefined.
[[nodiscard]] result<void> load_weights(const weight_plan& plan,
                                        const weight_source& source,
                                        std::span<std::byte> region,
                                        const load_options& options = {});

/// One weight; destination has weight.bytes() bytes and is aligned for the weight's type.
[[nodiscard]] result<void>
load_weight(const weight& weight, const weight_source& source, std::span<std::byte> destination);

} // namespace vdist::weights
