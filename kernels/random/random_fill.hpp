// kernels/random/random_fill.hpp — generated elements: models without a checkpoint are written where they will be read,
// at the speed of that memory. An element is a pure function of a rule and of a 64-bit index:
//
//     page  = mix(key + index / 2^32) mod 2^32
//     bits  = hash(index mod 2^32, page)
//     value = (bits mod 2^16 - bits / 2^16) * scale, rounded to the type of y, to nearest, ties to even
//
// a triangular distribution of mean 0 and standard deviation random_unit_deviation * scale. A scale of 0: `constant`.
// F-1 The bits of an element depend on rule, index and type only: not on block, strides, threads or device.
// Bytes: rows * columns * size of y's type. Integer operations: about 15 per element.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

// Always inlined: a copy compiled for one instruction set must not serve another (kernels/cpu).
#if defined(__CUDACC__)
#define VDIST_RANDOM_FILL __host__ __device__ __forceinline__
#else
#define VDIST_RANDOM_FILL [[gnu::always_inline]] inline
#endif

namespace vdist::kernels {

/// sqrt((2^32 - 1) / 6): of the difference of two uniform 16-bit numbers.
inline constexpr float random_unit_deviation = 26754.68F;

struct random_fill_rule {
  std::uint64_t key = 0;
  float scale = 0;    // not negative
  float constant = 0; // every element, if scale is 0
};

/// y[r, c] = element(first + r * row_step + c * column_step) of the rule.
struct random_fill_args {
  elements y; // [rows, columns], row stride y_stride; nothing beside it is written
  random_fill_rule rule;
  std::int64_t rows; // 0 rows or columns are allowed and do nothing
  std::int64_t columns;
  std::int64_t y_stride; // >= columns; without meaning for one row
  std::uint64_t first;   // index of y[0, 0]; the largest index of the block is below 2^63
  std::uint64_t row_step;
  std::uint64_t
      column_step; // 1 where a row of y is a run of indices, more where it is a column of them
};

/// Mixes 64 bits so that each bit of the input moves about half of the output.
VDIST_RANDOM_FILL std::uint64_t random_mix(std::uint64_t x) noexcept {
  x ^= x >> 31U;
  x *= 0x9FB21C651E98DF25ULL;
  x ^= x >> 29U;
  x *= 0xD6E8FEB86659FD93ULL;
  x ^= x >> 32U;
  return x;
}

/// The key of 2^32 indices, which share their upper half: `page`.
VDIST_RANDOM_FILL std::uint32_t random_page_key(std::uint64_t key, std::uint64_t page) noexcept {
  return static_cast<std::uint32_t>(random_mix(key + page));
}

/// The element before its rounding; `low` is the lower half of its index. Two rounds of multiply and shift on 32 bits:
/// cheap enough to be bound by memory, good enough for weights.
VDIST_RANDOM_FILL float
random_value(std::uint32_t low, std::uint32_t page_key, float scale) noexcept {
  std::uint32_t x = low + page_key;
  x ^= x >> 16U;
  x *= 0x6C8E9CF5U;
  x ^= x >> 15U;
  x *= 0x85157AF5U;
  x ^= x >> 16U;
  const auto difference =
      static_cast<std::int32_t>(x & 0xFFFFU) - static_cast<std::int32_t>(x >> 16U);
  return static_cast<float>(difference) * scale;
}

/// The same for any index and rule.
VDIST_RANDOM_FILL float random_element(const random_fill_rule& rule, std::uint64_t index) noexcept {
  return rule.scale == 0.0F ? rule.constant
                            : random_value(static_cast<std::uint32_t>(index),
                                           random_page_key(rule.key, index >> 32U),
                                           rule.scale);
}

} // namespace vdist::kernels

#undef VDIST_RANDOM_FILL
