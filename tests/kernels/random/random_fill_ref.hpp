// tests/kernels/random/random_fill_ref.hpp — generated elements, written a second time: in 64-bit arithmetic and double
// precision, element by element, with a rounding of its own. And the blocks that every backend is held to.
#pragma once

#include "tests/kernels/kernel_fixture.hpp"

#include "kernels/random/random_fill.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <vector>

namespace vdist::kernels::testing {

/// Before the rounding to a 16-bit type. The product has 41 bits: it is exact in double, and rounded once.
inline float reference_element(const random_fill_rule& rule, std::uint64_t index) {
  if (rule.scale == 0.0F) {
    return rule.constant;
  }
  constexpr std::uint64_t low_mask = 0xFFFF'FFFFULL;
  std::uint64_t page = rule.key + index / (low_mask + 1);
  page = (page ^ page / (1ULL << 31)) * 11507291218515648293ULL;
  page = (page ^ page / (1ULL << 29)) * 15485907386658061715ULL;
  page = page ^ page / (1ULL << 32);
  std::uint64_t x = ((index & low_mask) + (page & low_mask)) & low_mask;
  x = (x ^ x / 65536) * 1821285621ULL & low_mask;
  x = (x ^ x / 32768) * 2232777461ULL & low_mask;
  x = x ^ x / 65536;
  const double difference = static_cast<double>(x % 65536) - static_cast<double>(x / 65536);
  return static_cast<float>(difference * static_cast<double>(rule.scale));
}

/// A block and where it lies in a buffer.
struct fill_case {
  std::int64_t place = 0; // elements before it
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t y_stride = 0;
  std::uint64_t first = 0;
  std::uint64_t row_step = 0;
  std::uint64_t column_step = 1;

  [[nodiscard]] std::int64_t elements_needed() const { return place + rows * y_stride + 32; }

  [[nodiscard]] random_fill_args
  args(void* buffer, dtype type, const random_fill_rule& rule) const {
    return {.y = elements(buffer, type).behind(place),
            .rule = rule,
            .rows = rows,
            .columns = columns,
            .y_stride = y_stride,
            .first = first,
            .row_step = row_step,
            .column_step = column_step};
  }
};

inline std::ostream& operator<<(std::ostream& out, const fill_case& c) {
  return out << c.rows << " x " << c.columns << " stride " << c.y_stride << " place " << c.place
             << " first " << c.first << " steps " << c.row_step << ", " << c.column_step;
}

inline std::vector<fill_case> fill_cases() {
  constexpr std::uint64_t page = 1ULL << 32;
  return {
      // Nothing, single elements, odd sizes.
      {.place = 16, .rows = 0, .columns = 5, .y_stride = 5, .row_step = 5},
      {.place = 16, .rows = 3, .columns = 0, .y_stride = 8},
      {.place = 16, .rows = 1, .columns = 1, .y_stride = 1},
      {.place = 1, .rows = 1, .columns = 7, .y_stride = 7, .first = 3},
      {.place = 16, .rows = 1, .columns = 100'003, .y_stride = 100'003, .first = 12},
      // Rows that are one run, a vector, rows with gaps on both sides.
      {.place = 16, .rows = 17, .columns = 64, .y_stride = 64, .first = 640, .row_step = 64},
      {.place = 8, .rows = 300, .columns = 1, .y_stride = 1, .first = 9, .row_step = 1},
      {.place = 16, .rows = 5, .columns = 33, .y_stride = 40, .row_step = 35},
      {.place = 3, .rows = 9, .columns = 24, .y_stride = 48, .first = 50, .row_step = 100},
      {.place = 8, .rows = 700, .columns = 1030, .y_stride = 1032, .first = 5, .row_step = 4096},
      {.place = 8, .rows = 9'000, .columns = 3, .y_stride = 5, .first = 5, .row_step = 4096},
      // Transposed.
      {.place = 8,
       .rows = 31,
       .columns = 19,
       .y_stride = 24,
       .first = 7,
       .row_step = 1,
       .column_step = 1000},
      {.place = 8, .rows = 40, .columns = 40, .y_stride = 40, .row_step = 1, .column_step = 40},
      // Across pages: in a run, between and within rows, down the columns, several times.
      {.place = 16, .rows = 1, .columns = 5000, .y_stride = 5000, .first = page - 2503},
      {.place = 16,
       .rows = 4,
       .columns = 1000,
       .y_stride = 1008,
       .first = page - 1500,
       .row_step = 1000},
      {.place = 16,
       .rows = 8,
       .columns = 16,
       .y_stride = 16,
       .first = page - 20,
       .row_step = 1,
       .column_step = 3},
      {.place = 16, .rows = 3, .columns = 20, .y_stride = 24, .first = 5, .row_step = 2 * page + 1},
      {.place = 16,
       .rows = 2,
       .columns = 45,
       .y_stride = 48,
       .row_step = 3,
       .column_step = page / 2 + 1},
      {.place = 16, .rows = 2, .columns = 45, .y_stride = 48, .first = 1ULL << 62, .row_step = 45},
  };
}

inline std::vector<random_fill_rule> fill_rules() {
  return {{.key = 0x0123'4567'89AB'CDEFULL, .scale = 0.02F / random_unit_deviation},
          {.key = ~0ULL, .scale = 0.37F}, // the key overflows
          {.key = 1, .scale = 1.1e-9F},   // subnormal in float16, and zeros
          {.key = 7, .scale = 0, .constant = 1.0F},
          {.scale = 0, .constant = -0.3F}};
}

/// Each byte of a buffer that nobody has written.
inline constexpr std::byte fill_poison{0xa5};

/// What the buffer should hold after the call.
inline std::vector<std::byte>
reference_fill(const fill_case& c, dtype type, const random_fill_rule& rule) {
  std::vector<std::byte> out(static_cast<std::size_t>(c.elements_needed()) * size_of(type),
                             fill_poison);
  for (std::int64_t row = 0; row < c.rows; ++row) {
    for (std::int64_t column = 0; column < c.columns; ++column) {
      const std::uint64_t index = c.first + static_cast<std::uint64_t>(row) * c.row_step
                                  + static_cast<std::uint64_t>(column) * c.column_step;
      const float value = rounded_to(type, reference_element(rule, index));
      std::byte* to =
          out.data()
          + static_cast<std::size_t>(c.place + row * c.y_stride + column) * size_of(type);
      if (type == dtype::float32) {
        std::memcpy(to, &value, sizeof value);
      } else {
        const std::uint16_t half = encode(type, value);
        std::memcpy(to, &half, sizeof half);
      }
    }
  }
  return out;
}

} // namespace vdist::kernels::testing
