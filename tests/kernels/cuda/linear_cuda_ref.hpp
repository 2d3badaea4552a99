// tests/kernels/cuda/linear_cuda_ref.hpp — what a linear of any types should give, in double on the rounded inputs, and how
// far a sum in float32 and a rounding to the type of y may be from it.
#pragma once

#include "tests/kernels/activation/activation_ref.hpp"
#include "tests/kernels/linear/linear_ref.hpp"

#include "kernels/dtype.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

/// One output of a product: its value without bias, and the bias.
struct product_reference {
  dot_reference dot;
  double bias;

  [[nodiscard]] double value() const { return dot.value + bias; }

  /// Of a sum of `in` products in float32, in any order and with the truncating additions of tensor cores. An addition
  /// errs by at most 2^-23 of the partial sum. Partial sums and signs of errors are random: sqrt(in) instead of in, and
  /// magnitude, which is sqrt(in) times larger than a partial sum, leaves room enough.
  [[nodiscard]] double tolerance(std::int32_t in) const {
    return 0x1p-22 * (4.0 + std::sqrt(static_cast<double>(in))) * (dot.magnitude + std::abs(bias));
  }

  /// Rounded to `epsilon` / 2, with and without the bias.
  [[nodiscard]] double rounding(double epsilon) const {
    return 0.5 * epsilon * (std::abs(dot.value) + std::abs(value())) * (1.0 + epsilon);
  }
};

/// f(gate) * up of values that are off by at most `gate_error` and `up_error`. |f'| < 1.13 for all kinds; 2^-18 is the
/// error of f itself in float32, relative for what is not tiny.
struct gated_reference {
  double value;
  double tolerance;
};

inline gated_reference
gated_in_double(activation_kind kind, double gate, double up, double gate_error, double up_error) {
  const double active = activate_in_double(kind, gate);
  return {active * up,
          1.13 * gate_error * (std::abs(up) + up_error) + std::abs(active) * up_error
              + 0x1p-18 * (std::abs(active) + 0x1p-6) * std::abs(up)};
}

/// Columns to be checked: all of a small matrix, the ends and every so many of a large one.
inline std::vector<std::int32_t> columns_to_check(std::int32_t columns, std::int32_t count_max) {
  std::vector<std::int32_t> out;
  const std::int32_t step = columns <= count_max ? 1 : columns / count_max;
  for (std::int32_t column = 0; column < columns; ++column) {
    if (column % step == 0 || column + 20 >= columns) {
      out.push_back(column);
    }
  }
  return out;
}

} // namespace vdist::kernels::testing
