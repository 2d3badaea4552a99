// runtime/metrics/step_times.hpp — where the time of a replica's steps goes. Written by the step thread, read by anybody.
#pragma once

#include <atomic>
#include <cstdint>

namespace vdist::metrics {

/// Sums since the start, in nanoseconds; divide by `steps`. Relaxed: a reader may see a step half
/// counted.
struct step_times {
  std::atomic<std::uint64_t> steps{0};
  std::atomic<std::uint64_t> tokens{0};     // computed, prompt tokens included
  std::atomic<std::uint64_t> plan_ns{0};    // scheduler::plan
  std::atomic<std::uint64_t> send_ns{0};    // encode and publish
  std::atomic<std::uint64_t> collect_ns{0}; // waiting for the workers and decoding their results
  std::atomic<std::uint64_t> commit_ns{0};  // scheduler::commit and ledger
  std::atomic<std::uint64_t> compute_us{0}; // longest worker of each step, as the workers report it
};

} // namespace vdist::metrics
