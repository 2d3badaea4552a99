#include "model/weights/convert.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdist::weights {

namespace {

using kernels::dtype;

constexpr std::uint32_t sign_mask = 0x8000'0000U;
constexpr std::uint32_t infinity_bits = 0x7F80'0000U;
/// Elements converted through a float buffer at a time: 4 KiB, which stays in the first cache
/// level.
constexpr std::size_t chunk_elements = 1024;

// All four are free of branches, so that the loops below become vector code.

inline float widen_bfloat16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

inline float widen_float16(std::uint16_t bits) noexcept {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7FFFU) << 13U;
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
  // The exponent is 112 too small, for subnormals too: one exact multiplication mends both.
  const auto scaled = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const bool is_special = magnitude >= 0x0F80'0000U; // infinity or NaN
  const std::uint32_t special = magnitude | infinity_bits;
  return std::bit_cast<float>((is_special ? special : scaled) | sign);
}

inline std::uint16_t narrow_bfloat16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  const std::uint32_t quiet_nan = (bits >> 16U) | 0x40U;
  const bool is_nan = (bits & ~sign_mask) > infinity_bits;
  return static_cast<std::uint16_t>(is_nan ? quiet_nan : rounded);
}

inline std::uint16_t narrow_float16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & ~sign_mask;
  // Normal results: rebias the exponent, round the 13 bits that go. A carry may reach infinity, as
  // it should.
  const std::uint32_t normal =
      (magnitude - (112U << 23U) + 0x0FFFU + ((magnitude >> 13U) & 1U)) >> 13U;
  // Subnormal results: adding 0.5 puts the last kept bit at the end of the mantissa; the addition
  // does the rounding.
  const auto shifted = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F);
  const std::uint32_t subnormal = shifted - std::bit_cast<std::uint32_t>(0.5F);
  const std::uint32_t quiet_nan = 0x7E00U | ((magnitude >> 13U) & 0x3FFU);
  std::uint32_t narrow = magnitude < 0x3880'0000U ? subnormal : normal; // below 2^-14
  narrow = magnitude >= 0x4780'0000U ? 0x7C00U : narrow;                // 2^16 and above
  narrow = magnitude > infinity_bits ? quiet_nan : narrow;
  return static_cast<std::uint16_t>(narrow | ((bits & sign_mask) >> 16U));
}

template <class Element>
inline Element load(const std::byte* from, std::size_t index) noexcept {
  Element element;
  std::memcpy(&element, from + index * sizeof(Element), sizeof(Element));
  return element;
}

void widen(dtype type, const std::byte* from, float* to, std::size_t count) noexcept {
  switch (type) {
  case dtype::float32:
    std::memcpy(to, from, count * sizeof(float));
    return;
  case dtype::bfloat16:
    for (std::size_t i = 0; i < count; ++i) {
      to[i] = widen_bfloat16(load<std::uint16_t>(from, i));
    }
    return;
  case dtype::float16:
    for (std::size_t i = 0; i < count; ++i) {
      to[i] = widen_float16(load<std::uint16_t>(from, i));
    }
    return;
  }
}

/// Narrows with `Narrow` and notes whether a finite value of at least `limit_bits` was among them.
template <auto Narrow>
bool narrow(const float* from,
            std::uint32_t limit_bits,
            std::byte* to,
            std::size_t count) noexcept {
  auto* out = reinterpret_cast<std::uint16_t*>(to);
  std::uint32_t lost = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(from[i]) & ~sign_mask;
    lost |= static_cast<std::uint32_t>(magnitude >= limit_bits)
            & static_cast<std::uint32_t>(magnitude < infinity_bits);
    out[i] = Narrow(from[i]);
  }
  return lost == 0;
}

} // namespace

float float_from_bfloat16(std::uint16_t bits) noexcept {
  return widen_bfloat16(bits);
}

float float_from_float16(std::uint16_t bits) noexcept {
  return widen_float16(bits);
}

std::uint16_t bfloat16_from_float(float value) noexcept {
  return narrow_bfloat16(value);
}

std::uint16_t float16_from_float(float value) noexcept {
  return narrow_float16(value);
}

bool convert_floats(const float* from, dtype to_type, std::byte* to, std::size_t count) noexcept {
  constexpr std::uint32_t bfloat16_limit = 0x7F7F'8000U; // rounds to infinity from here on
  constexpr std::uint32_t float16_limit = 0x477F'F000U;  // 65520
  switch (to_type) {
  case dtype::float32:
    std::memcpy(to, from, count * sizeof(float));
    return true;
  case dtype::bfloat16:
    return narrow<narrow_bfloat16>(from, bfloat16_limit, to, count);
  case dtype::float16:
    return narrow<narrow_float16>(from, float16_limit, to, count);
  }
  return true;
}

bool convert(dtype from_type,
             const std::byte* from,
             dtype to_type,
             std::byte* to,
             std::size_t count) noexcept {
  if (from_type == to_type) {
    std::memcpy(to, from, count * kernels::size_of(to_type));
    return true;
  }
  if (to_type == dtype::float32) {
    widen(from_type, from, reinterpret_cast<float*>(to), count);
    return true;
  }
  bool fits = true;
  float buffer[chunk_elements];
  for (std::size_t first = 0; first < count; first += chunk_elements) {
    const std::size_t here = std::min(chunk_elements, count - first);
    widen(from_type, from + first * kernels::size_of(from_type), buffer, here);
    fits = convert_floats(buffer, to_type, to + first * kernels::size_of(to_type), here) && fits;
  }
  return fits;
}

} // namespace vdist::weights
