// tests/kernels/norm/norm_ref.hpp — the formulas of kernels/norm/norm.hpp for one row in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

inline std::vector<double>
rms_norm_in_double(const float* x, const float* weight, std::int32_t width, double eps) {
  double squares = 0.0;
  for (std::int32_t i = 0; i < width; ++i) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  std::vector<double> y;
  for (std::int32_t i = 0; i < width; ++i) {
    y.push_back(static_cast<double>(x[i]) / std::sqrt(squares / width + eps)
                * static_cast<double>(weight[i]));
  }
  return y;
}

/// bias may be nullptr.
inline std::vector<double> layer_norm_in_double(
    const float* x, const float* weight, const float* bias, std::int32_t width, double eps) {
  double mean = 0.0;
  for (std::int32_t i = 0; i < width; ++i) {
    mean += static_cast<double>(x[i]) / width;
  }
  double variance = 0.0;
  for (std::int32_t i = 0; i < width; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    variance += d * d / width;
  }
  std::vector<double> y;
  for (std::int32_t i = 0; i < width; ++i) {
    const double normal = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + eps);
    y.push_back(normal * static_cast<double>(weight[i])
                + (bias != nullptr ? static_cast<double>(bias[i]) : 0.0));
  }
  return y;
}

} // namespace vdist::kernels::testing
