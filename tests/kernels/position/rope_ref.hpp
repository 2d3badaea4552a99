// tests/kernels/position/rope_ref.hpp — the formula of kernels/position/rope.hpp for one head in
// double.
#pragma once

#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

/// x has head_dim values; cos and sin have rotary_dim / 2.
inline std::vector<double> rotate_in_double(const float* x,
                                            const float* cos,
                                            const float* sin,
                                            std::int32_t head_dim,
                                            std::int32_t rotary_dim) {
  std::vector<double> y(x, x + head_dim);
  const std::int32_t half = rotary_dim / 2;
  for (std::int32_t i = 0; i < half; ++i) {
    const double c = static_cast<double>(cos[i]);
    const double s = static_cast<double>(sin[i]);
    const double left = static_cast<double>(x[i]);
    const double right = static_cast<double>(x[i + half]);
    y[static_cast<std::size_t>(i)] = left * c - right * s;
    y[static_cast<std::size_t>(i + half)] = right * c + left * s;
  }
  return y;
}

} // namespace vdist::kernels::testing
