// kernels/embedding/embedding.hpp — table look-ups: token embedding (vocabulary-parallel), learned positions, row gather.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

/// ids[t] = fed[slots[t]] where ids[t] < 0: tokens that an earlier step sampled on the device.
struct fed_tokens_args {
  std::int32_t* ids;         // [tokens]
  const std::int32_t* slots; // [tokens]
  const std::int32_t* fed;   // [slots]
  std::int32_t tokens;
};

/// A device's own copy of the block tables: tables[rows[i] * stride + columns[i]] = blocks[i].
struct block_updates_args {
  const std::int32_t* rows;    // [count]
  const std::int32_t* columns; // [count]
  const std::int32_t* blocks;  // [count]
  std::int32_t* tables;
  std::int64_t stride;
  std::int32_t count;
};

/// y[t] = table[ids[t] - first_row] if that row is in this shard, else zeros. Zeros add nothing in
/// the all-reduce.
struct embedding_args {
  const std::int32_t* ids; // [tokens]
  const void* table;       // [rows, width] of type
  elements y;              // [tokens, width], row stride y_stride
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
  elements y;                    // [tokens, width], row stride y_stride
  dtype type;
  std::int32_t tokens;
  std::int32_t offset; // OPT counts positions from 2
  std::int32_t width;
  std::int64_t y_stride;
};

/// y[i] = x[indices[i]], rounded to y's type
struct gather_rows_args {
  const_elements x;            // [*, width], row stride x_stride
  const std::int32_t* indices; // [rows]; nullptr: row i itself, a conversion of types
  elements y;                  // [rows, width], contiguous
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
};

} // namespace vdist::kernels
