// tests/bench/serve/random_draws.hpp — seeded draws that are the same with every standard library, whose distributions are not.
// The header is all there is.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

namespace vdist::bench::serve {

class random_draws {
public:
  explicit random_draws(std::uint64_t seed) : bits_(seed) {}

  /// In [0, 1).
  double uniform() { return static_cast<double>(bits_() >> 11U) * 0x1p-53; }

  /// In [0, count); count is at least 1.
  std::uint32_t below(std::uint32_t count) {
    return static_cast<std::uint32_t>(uniform() * static_cast<double>(count));
  }

  /// Of mean 1.
  double exponential() { return -std::log1p(-uniform()); }

  /// Of mean 0 and deviation 1 (Box and Muller).
  double normal() {
    const double radius = std::sqrt(2 * exponential());
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

private:
  std::mt19937_64 bits_;
};

} // namespace vdist::bench::serve
