// kernels/cpu/scalar_convert.inl — one element between float, float16 and bfloat16; round to
// nearest even, NaN stays NaN (quiet, upper payload bits kept), as the vector instructions do.
// Included as simd_portable.inl is.

constexpr float exponent_magic =
    12582912.0F; // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
constexpr std::uint32_t exponent_magic_bits = 0x4b400000U;

inline float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000U) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1fU;
  const std::uint32_t mantissa = h & 0x3ffU;
  if (exponent == 0x1fU) {
    const std::uint32_t quiet = mantissa != 0 ? 0x400000U : 0U;
    return __builtin_bit_cast(float, sign | 0x7f800000U | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return __builtin_bit_cast(float, sign | __builtin_bit_cast(std::uint32_t, magnitude));
  }
  return __builtin_bit_cast(float, sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

inline std::uint16_t float_to_half(float x) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000U) {
    half = 0x7e00U | ((magnitude >> 13) & 0x3ffU);
  } else if (magnitude >= 0x477ff000U) { // rounds to 65536 or more
    half = 0x7c00U;
  } else if (magnitude < 0x38800000U) { // below 2^-14: the addition rounds to a multiple of 2^-24
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5F;
    half = __builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000U;
  } else {
    half = (magnitude + 0xfffU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

inline std::uint16_t float_to_bfloat(float x) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {
    return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
