// kernels/embedding/embedding.hpp — table look-ups: token embedding (vocabulary-parallel), learned positions, row gather.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

/// y[t] = table[ids[t] - first_row] if that row is in this shard, else zeros. Zeros add nothing in
/// the all-reduce.
struct embedding_args {
  const std::int32_t* ids; // [tokens]
  const void* table;       // [rows, width] of type
  float* y;                // [tokens, width], row stride y_stride
  dtype type;
  std::int32_t tokens;
  std::int32_t first_row; // id of the shard's first row
  std::int32_t rows;
  std::int32_t width;
  std::int64_t y_stride;
};

/// y[t] += table[positions[t] + offset]
struct position_embedding_args {
  const std::int32_t* positions; // [tokens]
  const void* table;             // [rows, width] of type
  float* y;                      // [tokens, width], row stride y_stride
  dtype type;
  std::int32_t tokens;
  std::int32_t offset; // OPT counts positions from 2
  std::int32_t width;
  std::int64_t y_stride;
};

/// y[i] = x[indices[i]]
struct gather_rows_args {
  const float* x;              // [*, width], row stride x_stride
  const std::int32_t* indices; // [rows]
  float* y;                    // [rows, width], contiguous
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
};

} // namespace vdist::kernels
