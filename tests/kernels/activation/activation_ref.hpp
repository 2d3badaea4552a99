// tests/kernels/activation/activation_ref.hpp — the formulas of kernels/activation/activation.hpp
// in double.
#pragma once

#include "kernels/activation/activation.hpp"

#include <cmath>
#include <numbers>

namespace vdist::kernels::testing {

inline double activate_in_double(activation_kind kind, double x) {
  switch (kind) {
  case activation_kind::silu:
    return x / (1.0 + std::exp(-x));
  case activation_kind::gelu_tanh:
    return 0.5 * x
           * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  case activation_kind::gelu_erf:
    return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
  case activation_kind::relu:
    return x < 0.0 ? 0.0 : x;
  }
  return x;
}

} // namespace vdist::kernels::testing
