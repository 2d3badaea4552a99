// kernels/activation/activation.hpp — element-wise activations and the residual addition.
#pragma once

#include "kernels/dtype.hpp"
#include "kernels/linear/linear.hpp"

#include <cstdint>

namespace vdist::kernels {

enum class activation_kind : std::uint8_t {
  silu,      // x / (1 + exp(-x))
  gelu_tanh, // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))), "gelu_new"
  gelu_erf,  // 0.5 x (1 + erf(x / sqrt(2)))
  relu,
};

/// y[t, i] = f(gate_up[t, i]) * gate_up[t, width + i]
struct gated_activation_args {
  const_elements gate_up; // [rows, 2 * width], row stride x_stride; gates first
  elements y;             // [rows, width], row stride y_stride; aliases nothing
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  std::int64_t y_stride;
  activation_kind kind;
};

/// y[t, i] = f(gate[t, i]) * up[t, i] with [gate | up] = x weightᵀ + bias: both halves of a gated MLP in one.
struct gated_linear_args {
  linear_args
      linear; // out_features = 2 * width; y: room for [gate | up]; its content is undefined afterwards
  elements y; // [tokens, width], row stride y_stride; aliases nothing
  std::int64_t y_stride;
  activation_kind kind;
};

/// x[t, i] = f(x[t, i]), in place
struct activation_args {
  elements x; // [rows, width], row stride x_stride
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  activation_kind kind;
};

/// hidden[t, i] = hidden[t, i] + (delta[t, i] + bias[i]); the bias of a row-parallel linear is
/// added here, once, after the all-reduce, so that the sum does not depend on the tensor size.
struct add_residual_args {
  elements hidden;      // [rows, width], row stride hidden_stride
  const_elements delta; // [rows, width], row stride delta_stride
  const float* bias;    // [width] or nullptr
  std::int32_t rows;
  std::int32_t width;
  std::int64_t hidden_stride;
  std::int64_t delta_stride;
};

} // namespace vdist::kernels
