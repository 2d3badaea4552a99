// tests/kernels/checksum/checksum_cases.hpp — memory whose sum is computed in more than one way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

/// Bytes without a pattern.
inline std::vector<std::byte> noise(std::size_t bytes, std::uint32_t seed = 1) {
  std::vector<std::byte> made(bytes);
  std::uint32_t x = seed * 2654435761U + 1;
  for (auto& each : made) {
    x ^= x << 13U;
    x ^= x >> 17U;
    x ^= x << 5U;
    each = static_cast<std::byte>(x);
  }
  return made;
}

/// Around words, units, blocks and grids.
inline const std::vector<std::size_t>& checksum_sizes() {
  static const std::vector<std::size_t> sizes{
      0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 4095, 4096, 4097, 65536, 1'000'003, 20'000'008};
  return sizes;
}

} // namespace vdist::kernels::testing
