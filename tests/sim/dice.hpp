// tests/sim/dice.hpp — the one source of chance of a simulation: equal seeds give equal throws, on every machine.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace vdist::testing {

class dice {
public:
  explicit dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    auto x = state_;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31U);
  }

  /// 0 … n - 1; 0 for n = 0.
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(next() % n); }

  /// `least` … `most`.
  std::int32_t between(std::int32_t least, std::int32_t most) {
    return least + static_cast<std::int32_t>(below(static_cast<std::size_t>(most - least) + 1));
  }

  std::chrono::microseconds microseconds(std::int32_t least, std::int32_t most) {
    return std::chrono::microseconds(between(least, most));
  }

  bool percent(int chance) { return between(0, 99) < chance; }

private:
  std::uint64_t state_;
};

} // namespace vdist::testing
