// kernels/collective/cells.hpp — data of collectives as cells of four bytes and units of four cells, their sums in the
// order of T-2 (transport/tensor/communicator.hpp), and messages as a row of units. For device and host.
#pragma once

#include "kernels/collective/exchange_layout.hpp"

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define VDIST_LANE __device__ __forceinline__
#define VDIST_UNROLL _Pragma("unroll")
#else
#define VDIST_LANE inline
#define VDIST_UNROLL _Pragma("GCC unroll 8")
#endif

namespace vdist::kernels {

/// Data moves in cells of four bytes: a float, two bfloat16, a token.
using cell = std::uint32_t;

inline constexpr std::size_t unit_cells = 4;

struct alignas(16) unit {
  cell at[unit_cells];
};

static_assert(sizeof(unit) == unit_bytes);

/// Largest power of two below n, for n >= 2.
[[nodiscard]] VDIST_COLLECTIVE constexpr int left_of(int n) {
  int half = 1;
  while (half * 2 < n) {
    half *= 2;
  }
  return half;
}

/// x[First] … x[First + Count - 1], added in the order of T-2 (transport/tensor/communicator.hpp).
template <int First, int Count, int Ranks>
[[nodiscard]] VDIST_LANE float tree_sum(const float (&x)[Ranks]) {
  if constexpr (Count == 1) {
    return x[First];
  } else {
    constexpr int left = left_of(Count);
    const float a = tree_sum<First, left>(x);
    const float b = tree_sum<First + left, Count - left>(x);
    return a + b;
  }
}

/// One float in a cell.
struct float_cell {
  template <int Ranks>
  [[nodiscard]] static VDIST_LANE cell sum(const cell (&x)[Ranks]) {
    float parts[Ranks];
    VDIST_UNROLL
    for (int r = 0; r < Ranks; ++r) {
      parts[r] = __builtin_bit_cast(float, x[r]);
    }
    return __builtin_bit_cast(cell, tree_sum<0, Ranks>(parts));
  }
};

/// Two bfloat16 in a cell, added as floats and rounded once, to nearest even.
struct bfloat16_cell {
  [[nodiscard]] static VDIST_LANE cell rounded(float value) {
    const auto bits = __builtin_bit_cast(std::uint32_t, value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
      return 0x7fffU; // a number that is none stays none
    }
    return (bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U;
  }

  template <int Ranks>
  [[nodiscard]] static VDIST_LANE cell sum(const cell (&x)[Ranks]) {
    float low[Ranks];
    float high[Ranks];
    VDIST_UNROLL
    for (int r = 0; r < Ranks; ++r) {
      low[r] = __builtin_bit_cast(float, x[r] << 16U);
      high[r] = __builtin_bit_cast(float, x[r] & 0xffff0000U);
    }
    return rounded(tree_sum<0, Ranks>(low)) | rounded(tree_sum<0, Ranks>(high)) << 16U;
  }
};

template <class Cell, int Ranks>
[[nodiscard]] VDIST_LANE unit sum_units(const unit (&x)[Ranks]) {
  unit out;
  VDIST_UNROLL
  for (std::size_t c = 0; c < unit_cells; ++c) {
    cell parts[Ranks];
    VDIST_UNROLL
    for (int r = 0; r < Ranks; ++r) {
      parts[r] = x[r].at[c];
    }
    out.at[c] = Cell::template sum<Ranks>(parts);
  }
  return out;
}

/// Cells of a message in the rank's own memory, seen as units; the last may be partly filled. Any alignment of 4 bytes;
/// aligned to 16 it moves by whole units.
template <class Cell>
class message {
public:
  VDIST_LANE message(Cell* data, std::size_t cells)
      : data_(data), cells_(cells), is_aligned_(reinterpret_cast<std::uintptr_t>(data) % 16 == 0) {}

  [[nodiscard]] VDIST_LANE std::size_t units() const {
    return (cells_ + unit_cells - 1) / unit_cells;
  }

  /// Cells behind the end read as 0.
  [[nodiscard]] VDIST_LANE unit load(std::size_t index) const {
    const std::size_t first = index * unit_cells;
    if (is_aligned_ && first + unit_cells <= cells_) {
      return *reinterpret_cast<const unit*>(data_ + first);
    }
    unit out;
    VDIST_UNROLL
    for (std::size_t c = 0; c < unit_cells; ++c) {
      out.at[c] = first + c < cells_ ? data_[first + c] : 0;
    }
    return out;
  }

  VDIST_LANE void store(std::size_t index, const unit& value) const {
    const std::size_t first = index * unit_cells;
    if (is_aligned_ && first + unit_cells <= cells_) {
      *reinterpret_cast<unit*>(data_ + first) = value;
      return;
    }
    VDIST_UNROLL
    for (std::size_t c = 0; c < unit_cells; ++c) {
      if (first + c < cells_) {
        data_[first + c] = value.at[c];
      }
    }
  }

private:
  Cell* data_;
  std::size_t cells_;
  bool is_aligned_;
};

/// Rows of equal messages, `stride` cells apart, seen as the units of one: none of them lies in two rows, so a row that is
/// aligned to 16 moves by whole units, whatever its neighbours do. Fewer than 2^32 units.
template <class Cell>
class message_rows {
public:
  struct shape {
    std::size_t rows;
    std::size_t part;   // cells of a row
    std::size_t stride; // cells from row to row
  };

  VDIST_LANE message_rows(Cell* data, const shape& shape)
      : data_(data), shape_(shape), row_units_(message<Cell>(data, shape.part).units()) {}

  [[nodiscard]] VDIST_LANE std::size_t units() const { return shape_.rows * row_units_; }

  /// As message::load() and store() of the row that `index` falls into.
  [[nodiscard]] VDIST_LANE unit load(std::size_t index) const {
    const std::size_t row = row_of(index);
    return at(row).load(index - row * row_units_);
  }

  VDIST_LANE void store(std::size_t index, const unit& value) const {
    const std::size_t row = row_of(index);
    at(row).store(index - row * row_units_, value);
  }

private:
  /// In 32 bits, and for one row not at all: devices divide slowly.
  [[nodiscard]] VDIST_LANE std::size_t row_of(std::size_t index) const {
    return shape_.rows == 1
               ? 0
               : static_cast<std::uint32_t>(index) / static_cast<std::uint32_t>(row_units_);
  }

  [[nodiscard]] VDIST_LANE message<Cell> at(std::size_t row) const {
    return {data_ + row * shape_.stride, shape_.part};
  }

  Cell* data_;
  shape shape_;
  std::size_t row_units_;
};

/// Where sums go: a message of them, or floats that they are added to.
class sum_target {
public:
  /// `onto` is null, or has as many cells.
  VDIST_LANE sum_target(const message<cell>& sums, cell* onto, std::size_t cells)
      : sums_(sums), onto_(onto, cells), is_added_(onto != nullptr) {}

  VDIST_LANE void store(std::size_t index, const unit& sum) const {
    if (!is_added_) {
      sums_.store(index, sum);
      return;
    }
    unit total = onto_.load(index);
    VDIST_UNROLL
    for (std::size_t c = 0; c < unit_cells; ++c) {
      total.at[c] = __builtin_bit_cast(
          cell, __builtin_bit_cast(float, total.at[c]) + __builtin_bit_cast(float, sum.at[c]));
    }
    onto_.store(index, total);
  }

private:
  message<cell> sums_;
  message<cell> onto_;
  bool is_added_;
};

} // namespace vdist::kernels
