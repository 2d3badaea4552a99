// kernels/norm/norm.hpp — RMSNorm and LayerNorm over the last dimension; sums as kernels/backend.hpp N-2.
//   rms_norm:   y = x / sqrt(mean(x²) + eps) * weight
//   layer_norm: y = (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) * weight + bias
// Source: Zhang & Sennrich 2019; Ba, Kiros & Hinton 2016. Bytes: 8 per element.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

struct rms_norm_args {
  const_elements x;    // [rows, width], row stride x_stride elements
  const float* weight; // [width]
  elements y;          // [rows, width], row stride y_stride; may alias x if the strides are equal
  std::int32_t rows;   // 0 is allowed
  std::int32_t width;  // > 0
  std::int64_t x_stride;
  std::int64_t y_stride;
  float eps;
};

struct layer_norm_args {
  const_elements x;    // as rms_norm_args
  const float* weight; // [width]
  const float* bias;   // [width] or nullptr
  elements y;
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  std::int64_t y_stride;
  float eps;
};

} // namespace vdist::kernels
