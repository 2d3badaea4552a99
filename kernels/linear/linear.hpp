// kernels/linear/linear.hpp — y[t, o] = sum_k x[t, k] * weight[o, k] + bias[o], summed as kernels/backend.hpp N-2, N-3 say.
// Bytes: out*in*size_of(weight_dtype) + 4*tokens*(in+out); flops: 2*tokens*in*out.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

struct linear_args {
  const_elements x; // [tokens, in_features], row stride x_stride elements
  const void*
      weight; // [out_features, in_features] of weight_dtype, contiguous rows, 64-byte aligned base
  const float* bias;   // [out_features] or nullptr
  elements y;          // [tokens, out_features], row stride y_stride; aliases nothing
  std::int32_t tokens; // 0 is allowed and does nothing
  std::int32_t in_features;
  std::int32_t out_features;
  std::int64_t x_stride; // >= in_features
  std::int64_t y_stride; // >= out_features
  dtype weight_dtype;
  std::int32_t reduction_leaves; // power of two >= 1 that divides in_features (N-3)
};

/// hidden[t] += x[t] weightᵀ + bias: a row-parallel linear whose sum needs no other rank.
struct linear_residual_args {
  linear_args
      linear; // y: [tokens, out_features], room for the sum; its content is undefined afterwards
  elements hidden; // [tokens, out_features], row stride hidden_stride
  std::int64_t hidden_stride;
};

} // namespace vdist::kernels
