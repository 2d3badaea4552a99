// tests/bench/kernels/collective_bench_timing.hpp — what benchmarks of collectives share: ranks as threads that meet, how
// often an operation is repeated, and what a round of all ranks counts as.
#pragma once

#include "kernels/dtype.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <future>
#include <vector>

namespace vdist::kernels::bench {

/// Of everything that a rank waits for: another rank, or its device.
inline constexpr std::chrono::seconds rank_patience{60};
/// Of one measurement of all ranks, the data check included.
inline constexpr std::chrono::seconds measurement_patience{300};

using meeting = std::barrier<>;

/// `work(rank, meeting)` on a thread per rank; throws what the first of them threw. A library that keeps a rank for ever
/// cannot be left in any other way, so the program ends with exit code 1 when the patience does.
template <class Work>
void run_together(std::size_t ranks, const Work& work) {
  meeting together(static_cast<std::ptrdiff_t>(ranks));
  std::vector<std::future<void>> all;
  for (std::size_t r = 0; r < ranks; ++r) {
    all.push_back(std::async(std::launch::async, [&work, &together, r] {
      try {
        work(r, together);
      } catch (...) {
        together.arrive_and_drop(); // nobody waits for this rank
        throw;
      }
    }));
  }
  const auto deadline = std::chrono::steady_clock::now() + measurement_patience;
  for (const auto& one : all) {
    if (one.wait_until(deadline) != std::future_status::ready) {
      std::fprintf(stderr, "run the ranks: one of them does not end (ranks=%zu)\n", ranks);
      std::fflush(nullptr);
      std::_Exit(1);
    }
  }
  for (auto& one : all) {
    one.get();
  }
}

/// How often an operation is called: `calls` behind each other are one piece of work, which runs `lead` times to bring
/// the ranks in step and then `pieces` times against the clock, `rounds` times over.
struct pace {
  static constexpr int lead = 1;
  int calls = 64;
  int pieces = 8;
  int rounds = 9;
};

/// A piece takes some hundred microseconds, longer than the host needs to launch the next one.
[[nodiscard]] inline pace pace_of(std::size_t bytes, bool is_quick) {
  const double seconds = 3e-6 + static_cast<double>(bytes) / 150e9; // only roughly right
  return {.calls = static_cast<int>(std::clamp(300e-6 / seconds, 4.0, 64.0)),
          .pieces = is_quick ? 4 : 8,
          .rounds = is_quick ? 5 : 9};
}

/// Seconds of every round, by rank.
using round_times = std::vector<std::vector<double>>;

/// The median round; a round takes as long as its slowest rank.
[[nodiscard]] inline double median_round(const round_times& by_rank) {
  std::vector<double> rounds(by_rank.front().size(), 0);
  for (const auto& mine : by_rank) {
    std::transform(
        mine.begin(), mine.end(), rounds.begin(), rounds.begin(), [](double a, double b) {
          return std::max(a, b);
        });
  }
  const auto middle = rounds.begin() + static_cast<std::ptrdiff_t>(rounds.size() / 2);
  std::nth_element(rounds.begin(), middle, rounds.end());
  return *middle;
}

/// Small whole numbers by rank and place, from -16 to 15: their sums over 8 ranks are exact in every type and order.
[[nodiscard]] inline int test_value(std::size_t rank, std::size_t place) {
  const std::uint32_t mixed =
      (static_cast<std::uint32_t>(place) + static_cast<std::uint32_t>(rank) * 40503U) * 2654435761U;
  return static_cast<int>(mixed >> 27U) - 16;
}

/// `bytes` of `value(place)` stored as `type` (float32 or bfloat16).
template <class Value>
[[nodiscard]] std::vector<std::byte> stored(dtype type, std::size_t bytes, const Value& value) {
  std::vector<std::byte> out(bytes);
  const auto size = size_of(type);
  for (std::size_t i = 0; i < bytes / size; ++i) {
    const auto exact = static_cast<float>(value(i));
    std::uint32_t bits = 0;
    std::memcpy(&bits, &exact, sizeof bits);
    bits >>= 8 * (sizeof bits - size); // the upper half of a float32 is a bfloat16
    std::memcpy(out.data() + i * size, &bits, size);
  }
  return out;
}

[[nodiscard]] inline std::vector<std::byte>
stored_values(dtype type, std::size_t bytes, std::size_t rank) {
  return stored(type, bytes, [rank](std::size_t place) { return test_value(rank, place); });
}

[[nodiscard]] inline std::vector<std::byte>
stored_sums(dtype type, std::size_t bytes, std::size_t ranks) {
  return stored(type, bytes, [ranks](std::size_t place) {
    int sum = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      sum += test_value(r, place);
    }
    return sum;
  });
}

} // namespace vdist::kernels::bench
