// kernels/dtype.hpp — element types of stored tensors. Activations are float32 on the CPU; weights and KV keep their type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vdist::kernels {

enum class dtype : std::uint8_t { float32 = 0, bfloat16 = 1, float16 = 2 };

/// Bytes of one element.
[[nodiscard]] constexpr std::size_t size_of(dtype type) noexcept {
  return type == dtype::float32 ? 4 : 2;
}

[[nodiscard]] constexpr std::string_view to_string(dtype type) noexcept {
  switch (type) {
  case dtype::float32:
    return "float32";
  case dtype::bfloat16:
    return "bfloat16";
  case dtype::float16:
    return "float16";
  }
  return "unknown";
}

} // namespace vdist::kernels
