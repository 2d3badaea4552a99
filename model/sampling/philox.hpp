// model/sampling/philox.hpp — Philox4x32-10, a counter-based generator: random bits are a function of (key, counter).
// Why: a token must depend on (seed, position) and nothing else (P-5 of the design), so there is no state to lose.
// Source: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace vdist::sampling {

using philox_block = std::array<std::uint32_t, 4>;

/// Four random words for this counter and key. Ten rounds, about 20 ns.
[[nodiscard]] constexpr philox_block philox(philox_block counter, std::uint64_t key) {
  constexpr std::uint64_t multiplier_0 = 0xD2511F53;
  constexpr std::uint64_t multiplier_1 = 0xCD9E8D57;
  auto key_0 = static_cast<std::uint32_t>(key);
  auto key_1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product_0 = multiplier_0 * counter[0];
    const std::uint64_t product_1 = multiplier_1 * counter[2];
    counter = {static_cast<std::uint32_t>(product_1 >> 32) ^ counter[1] ^ key_0,
               static_cast<std::uint32_t>(product_1),
               static_cast<std::uint32_t>(product_0 >> 32) ^ counter[3] ^ key_1,
               static_cast<std::uint32_t>(product_0)};
    key_0 += 0x9E3779B9; // golden ratio
    key_1 += 0xBB67AE85; // sqrt(3) - 1
  }
  return counter;
}

/// A uniform double in [0, 1) with 53 random bits, for generated token number `position` of a
/// request.
[[nodiscard]] constexpr double uniform(std::uint64_t seed, std::uint64_t position) {
  const auto block = philox(
      {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), 0, 0},
      seed);
  const std::uint64_t bits = (static_cast<std::uint64_t>(block[0]) << 32) | block[1];
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

} // namespace vdist::sampling
