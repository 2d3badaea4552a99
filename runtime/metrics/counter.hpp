// runtime/metrics/counter.hpp — a number that only rises while its process lives. Any thread; nothing is ordered by it.
#pragma once

#include <atomic>
#include <cstdint>

namespace vdist::metrics {

using counter = std::atomic<std::uint64_t>;

inline void count(counter& what, std::uint64_t amount = 1) noexcept {
  what.fetch_add(amount, std::memory_order_relaxed);
}

[[nodiscard]] inline std::uint64_t read(const counter& what) noexcept {
  return what.load(std::memory_order_relaxed);
}

} // namespace vdist::metrics
