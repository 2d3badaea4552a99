// Every 16-bit value, and many floats, against conversions written with plain arithmetic in double.
#include "model/weights/convert.hpp"

#include <boost/test/unit_test.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace vdist::weights;
using vdist::kernels::dtype;

/// A binary format by its definition: `mantissa` stored bits, exponents down to `min_exponent`.
struct format {
  int mantissa;
  int min_exponent;
  double largest; // finite
};

constexpr format float16_format{10, -14, 65504.0};
constexpr format bfloat16_format{7, -126, 0x1.FEp127};

/// Value of the bits, by the formula of the standard.
double value_of(std::uint16_t bits, const format& type) {
  const int exponent_bits = 15 - type.mantissa;
  const int exponent = (bits >> type.mantissa) & ((1 << exponent_bits) - 1);
  const int fraction = bits & ((1 << type.mantissa) - 1);
  const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) {
    return sign * std::ldexp(fraction, type.min_exponent - type.mantissa);
  }
  return sign
         * std::ldexp((1 << type.mantissa) + fraction,
                      exponent - 1 + type.min_exponent - type.mantissa);
}

/// The nearest value of the format, ties to even, from the definition of rounding.
double nearest(float value, const format& type) {
  const double wide = value;
  if (!std::isfinite(wide) || wide == 0) {
    return wide;
  }
  const int exponent = std::max(std::ilogb(wide), type.min_exponent);
  const double quantum = std::ldexp(1.0, exponent - type.mantissa);
  const double rounded = std::nearbyint(wide / quantum) * quantum;
  return std::abs(rounded) > type.largest
             ? std::copysign(std::numeric_limits<double>::infinity(), wide)
             : rounded;
}

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

/// Random bit patterns, and the neighbourhood of every representable 16-bit value and of every tie.
std::vector<float> interesting_floats() {
  std::vector<float> values;
  std::mt19937 random(7);
  for (int i = 0; i < 200'000; ++i) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  }
  for (const format& type : {float16_format, bfloat16_format}) {
    for (std::uint32_t bits = 0; bits < 0x7FFFU; bits += 3) {
      const double here = value_of(static_cast<std::uint16_t>(bits), type);
      const double next = value_of(static_cast<std::uint16_t>(bits + 1), type);
      if (std::isfinite(here) && std::isfinite(next)) {
        const auto tie = static_cast<float>((here + next) / 2);
        for (const float value : {static_cast<float>(here),
                                  tie,
                                  std::nextafter(tie, 0.0F),
                                  std::nextafter(tie, 1e38F)}) {
          values.push_back(value);
          values.push_back(-value);
        }
      }
    }
  }
  for (const float value : {65504.0F, 65519.99F, 65520.0F, 65536.0F, 3.4e38F, 0.0F, -0.0F}) {
    values.push_back(value);
  }
  return values;
}

std::uint64_t mismatches = 0;

} // namespace

BOOST_AUTO_TEST_CASE(widening_is_exact_for_every_16_bit_value) {
  mismatches = 0;
  for (std::uint32_t bits = 0; bits <= 0xFFFFU; ++bits) {
    const auto narrow = static_cast<std::uint16_t>(bits);
    mismatches += same(float_from_float16(narrow), value_of(narrow, float16_format)) ? 0 : 1;
    mismatches += same(float_from_bfloat16(narrow), value_of(narrow, bfloat16_format)) ? 0 : 1;
  }
  BOOST_TEST(mismatches == 0U);
}

BOOST_AUTO_TEST_CASE(narrowing_rounds_to_the_nearest_and_ties_to_even) {
  mismatches = 0;
  const auto values = interesting_floats();
  for (const float value : values) {
    mismatches +=
        same(value_of(float16_from_float(value), float16_format), nearest(value, float16_format))
            ? 0
            : 1;
    mismatches +=
        same(value_of(bfloat16_from_float(value), bfloat16_format), nearest(value, bfloat16_format))
            ? 0
            : 1;
  }
  BOOST_TEST(mismatches == 0U);
  BOOST_TEST_MESSAGE("checked " << values.size() << " floats");
}

BOOST_AUTO_TEST_CASE(there_and_back_returns_every_16_bit_value) {
  mismatches = 0;
  for (std::uint32_t bits = 0; bits <= 0xFFFFU; ++bits) {
    const auto narrow = static_cast<std::uint16_t>(bits);
    if (!std::isnan(float_from_float16(narrow))) {
      mismatches += float16_from_float(float_from_float16(narrow)) == narrow ? 0 : 1;
    }
    if (!std::isnan(float_from_bfloat16(narrow))) {
      mismatches += bfloat16_from_float(float_from_bfloat16(narrow)) == narrow ? 0 : 1;
    }
  }
  BOOST_TEST(mismatches == 0U);
}

BOOST_AUTO_TEST_CASE(converts_arrays_between_all_types_and_from_any_alignment) {
  constexpr std::size_t count = 2500; // not a multiple of the chunk
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const dtype from : {dtype::float32, dtype::bfloat16, dtype::float16}) {
    std::vector<std::byte> source(count * 4 + 1);
    std::vector<float> values(count); // exact in every type
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = float_from_bfloat16(bfloat16_from_float(std::clamp(normal(random), -2.0F, 2.0F)));
      values[i] = std::abs(values[i]) < 0.01F ? 0.25F : values[i];
    }
    BOOST_TEST(convert(dtype::float32,
                       reinterpret_cast<const std::byte*>(values.data()),
                       from,
                       source.data(),
                       count));
    std::memmove(source.data() + 1, source.data(), count * vdist::kernels::size_of(from));
    for (const dtype to : {dtype::float32, dtype::bfloat16, dtype::float16}) {
      std::vector<float> wide(count);
      std::vector<float> target(count);
      auto* bytes = reinterpret_cast<std::byte*>(target.data());
      BOOST_TEST(convert(from, source.data() + 1, to, bytes, count));
      BOOST_TEST(
          convert(to, bytes, dtype::float32, reinterpret_cast<std::byte*>(wide.data()), count));
      BOOST_TEST(wide == values,
                 vdist::kernels::to_string(from) << " to " << vdist::kernels::to_string(to));
    }
  }
}

BOOST_AUTO_TEST_CASE(says_when_a_finite_value_does_not_fit) {
  std::uint16_t out = 0;
  auto* bytes = reinterpret_cast<std::byte*>(&out);
  const auto fits = [bytes](float value, dtype type) {
    return convert_floats(&value, type, bytes, 1);
  };
  BOOST_TEST(fits(65519.0F, dtype::float16));
  BOOST_TEST(!fits(65520.0F, dtype::float16));
  BOOST_TEST(!fits(-1e6F, dtype::float16));
  BOOST_TEST(fits(std::numeric_limits<float>::infinity(), dtype::float16));
  BOOST_TEST(fits(1e38F, dtype::bfloat16));
  BOOST_TEST(!fits(std::numeric_limits<float>::max(), dtype::bfloat16));
}
