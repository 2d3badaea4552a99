// kernels/position/rope.hpp — rotary position embedding, in place, on the first rotary_dim elements of every head.
// Pairs are (i, i + rotary_dim/2), the Hugging Face layout ("rotate half"):
//   x'[i] = x[i]*cos[p, i] - x[i+h]*sin[p, i];  x'[i+h] = x[i+h]*cos[p, i] + x[i]*sin[p, i];  h = rotary_dim/2.
// The tables hold any frequency scaling (Llama 3.1 …) already; they are computed once, in double precision.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

struct rope_args {
  elements x;                    // [tokens, heads * head_dim], row stride x_stride
  const std::int32_t* positions; // [tokens], each in [0, table_rows)
  const float* cos_table;        // [table_rows, rotary_dim/2]
  const float* sin_table;        // [table_rows, rotary_dim/2]
  std::int32_t tokens;
  std::int32_t heads;
  std::int32_t head_dim;
  std::int32_t rotary_dim; // even, <= head_dim
  std::int64_t x_stride;
};

} // namespace vdist::kernels
