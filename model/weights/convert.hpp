// model/weights/convert.hpp — element type conversion, round to nearest, ties to even; NaN stays
// NaN (quiet), and infinities stay infinities. float32 is the common middle: every source value is
// exact in it, so one rounding happens.
#pragma once

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::weights {

[[nodiscard]] float float_from_bfloat16(std::uint16_t bits) noexcept;
[[nodiscard]] float float_from_float16(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t bfloat16_from_float(float value) noexcept;
[[nodiscard]] std::uint16_t float16_from_float(float value) noexcept;

/// Converts `count` elements. `from` may be unaligned (safetensors do not promise alignment), `to`
/// is aligned for its type; they do not overlap. Returns false if a finite element became infinite,
/// which only narrowing can cause.
[[nodiscard]] bool convert(kernels::dtype from_type,
                           const std::byte* from,
                           kernels::dtype to_type,
                           std::byte* to,
                           std::size_t count) noexcept;

/// The second half of convert(), for generated values.
[[nodiscard]] bool convert_floats(const float* from,
                                  kernels::dtype to_type,
                                  std::byte* to,
                                  std::size_t count) noexcept;

} // namespace vdist::weights
