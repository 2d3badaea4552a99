// model/exec/step_buckets.hpp — the sizes that decode steps are padded to on a device, so that recorded work fits them:
// 1, 2, 4, 8, 16, 24, … bucket_max sequences.
#pragma once

#include <cstdint>

namespace vdist::exec {

inline constexpr std::int32_t bucket_step = 8;
inline constexpr std::int32_t bucket_max = 256;

/// The smallest that has room; 0: no bucket is as large.
[[nodiscard]] constexpr std::int32_t bucket_of(std::int32_t sequences) {
  for (std::int32_t size = 1; size < bucket_step; size *= 2) {
    if (sequences <= size) {
      return size;
    }
  }
  const auto rounded = (sequences + bucket_step - 1) / bucket_step * bucket_step;
  return rounded <= bucket_max ? rounded : 0;
}

static_assert(bucket_of(1) == 1 && bucket_of(3) == 4 && bucket_of(8) == 8 && bucket_of(9) == 16);
static_assert(bucket_of(bucket_max) == bucket_max && bucket_of(bucket_max + 1) == 0);

} // namespace vdist::exec
