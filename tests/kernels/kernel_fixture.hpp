// tests/kernels/kernel_fixture.hpp — what all kernel tests share: backends of every instruction set
// that this machine has, seeded inputs, stored dtypes, and outputs that notice a write outside of
// their rows.
#pragma once

#include "kernels/cpu/cpu_backend.hpp"

#include <boost/test/unit_test.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace vdist::kernels::testing {

inline std::unique_ptr<backend> make_backend(cpu_isa isa, std::int32_t threads = 1) {
  return make_cpu_backend({.threads = threads,
                           .max_positions = 1024,
                           .max_tokens = 512,
                           .max_features = 4096,
                           .isa = isa});
}

/// The portable one first, then what the machine has.
inline std::vector<std::unique_ptr<backend>> all_backends(std::int32_t threads = 1) {
  std::vector<std::unique_ptr<backend>> out;
  for (const cpu_isa isa : {cpu_isa::portable, cpu_isa::avx2, cpu_isa::avx512}) {
    auto candidate = make_backend(isa, threads);
    if (out.empty() || out.back()->name() != candidate->name()) {
      out.push_back(std::move(candidate));
    }
  }
  return out;
}

class random_source {
public:
  explicit random_source(std::uint32_t seed) : engine_(seed) {}

  float normal() { return std::normal_distribution<float>(0.0F, 1.0F)(engine_); }

  std::int32_t below(std::int32_t n) {
    return std::uniform_int_distribution<std::int32_t>(0, n - 1)(engine_);
  }

  std::vector<float> normals(std::size_t n) {
    std::vector<float> out(n);
    for (float& x : out) {
      x = normal();
    }
    return out;
  }

private:
  std::mt19937 engine_;
};

/// Round to nearest even, written apart from the product: through double and scaling.
inline float rounded_to(dtype type, float x) {
  if (type == dtype::float32 || !std::isfinite(x) || x == 0.0F) {
    return x;
  }
  const int bits = type == dtype::bfloat16 ? 8 : 11;
  const int exponent_min = type == dtype::bfloat16 ? -126 : -14;
  const double largest = type == dtype::bfloat16 ? 0x1.fep127 : 65504.0;
  int exponent = 0;
  (void)std::frexp(x, &exponent);
  const int unit = std::max(exponent - 1, exponent_min) - (bits - 1);
  const double value = std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(x), -unit)), unit);
  return std::abs(value) > largest ? std::copysign(std::numeric_limits<float>::infinity(), x)
                                   : static_cast<float>(value);
}

/// The bits of a value that is representable in `type` already.
inline std::uint16_t encode(dtype type, float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (type == dtype::bfloat16) {
    return static_cast<std::uint16_t>(bits >> 16);
  }
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  if (std::isnan(x)) {
    return static_cast<std::uint16_t>(sign | 0x7e00U);
  }
  const float magnitude = std::abs(x);
  if (std::isinf(x)) {
    return static_cast<std::uint16_t>(sign | 0x7c00U);
  }
  if (magnitude < 0x1p-14F) {
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(magnitude * 0x1p24F));
  }
  const std::uint32_t body = (std::bit_cast<std::uint32_t>(magnitude) - (112U << 23)) >> 13;
  return static_cast<std::uint16_t>(sign | body);
}

inline float decode(dtype type, std::uint16_t bits) {
  if (type == dtype::bfloat16) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  float magnitude = 0.0F;
  if (exponent == 31) {
    magnitude = mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                              : std::numeric_limits<float>::infinity();
  } else {
    magnitude = std::ldexp(static_cast<float>(exponent == 0 ? mantissa : mantissa + 1024),
                           std::max(exponent, 1) - 25);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// A tensor in its stored type; `values` are what the bits mean.
struct stored_tensor {
  dtype type;
  std::vector<float> values;
  std::vector<std::uint16_t> halves; // empty for float32

  stored_tensor(dtype type_, std::vector<float> exact) : type(type_), values(std::move(exact)) {
    for (float& x : values) {
      x = rounded_to(type, x);
      if (type != dtype::float32) {
        halves.push_back(encode(type, x));
      }
    }
  }

  /// From element `first`.
  [[nodiscard]] const void* data(std::size_t first = 0) const {
    return type == dtype::float32 ? static_cast<const void*>(values.data() + first)
                                  : static_cast<const void*>(halves.data() + first);
  }
};

inline constexpr std::uint32_t canary_bits = 0x7fc5a5a5U; // a NaN nobody computes

/// Rows of output with poisoned contents and canaries in the gaps and behind.
class guarded_rows {
public:
  guarded_rows(std::int32_t rows, std::int32_t width, std::int64_t stride)
      : rows_(rows),
        width_(width),
        stride_(stride),
        floats_(static_cast<std::size_t>(rows * stride + 32), std::bit_cast<float>(canary_bits)) {}

  [[nodiscard]] float* data() { return floats_.data() + 16; }

  [[nodiscard]] const float* row(std::int32_t r) const { return floats_.data() + 16 + r * stride_; }

  /// Everything outside of the rows still holds the canary, and nothing inside does.
  [[nodiscard]] bool is_exactly_filled() const {
    for (std::size_t i = 0; i < floats_.size(); ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) - 16;
      const bool is_inside = at >= 0 && at < rows_ * stride_ && at % stride_ < width_;
      const bool is_canary = std::bit_cast<std::uint32_t>(floats_[i]) == canary_bits;
      if (is_inside == is_canary) {
        return false;
      }
    }
    return true;
  }

  /// The rows without gaps.
  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> out;
    for (std::int32_t r = 0; r < rows_; ++r) {
      out.insert(out.end(), row(r), row(r) + width_);
    }
    return out;
  }

private:
  std::int32_t rows_;
  std::int32_t width_;
  std::int64_t stride_;
  std::vector<float> floats_;
};

/// Equal bit for bit; any two NaN are equal (their payload depends on the order of operands, not on
/// the mathematics).
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool both_nan = std::isnan(a[i]) && std::isnan(b[i]);
    if (!both_nan && std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      BOOST_TEST_MESSAGE("element " << i << ": " << a[i] << " against " << b[i]);
      return false;
    }
  }
  return true;
}

/// |got - want| <= tolerance, with NaN meeting NaN and infinities equal.
inline bool is_near(double got, double want, double tolerance) {
  if (std::isnan(want) || std::isnan(got)) {
    return std::isnan(want) && std::isnan(got);
  }
  if (std::isinf(want) || std::isinf(got)) {
    return got == want;
  }
  return std::abs(got - want) <= tolerance;
}

inline const dtype all_dtypes[] = {dtype::float32, dtype::bfloat16, dtype::float16};

} // namespace vdist::kernels::testing
