// runtime/base/recent_moments.hpp — the newest moments of recoveries, in a ring of words that processes may share, and what
// they come to: one recovery after the other. For whoever looks at a cluster that runs for months; a fault script, which
// wants all of a bounded time, has fault_trace.hpp.
//
// N-1 Bounded: the newest moments_max are kept, older ones are overwritten. N-2 A moment is whole or not there: a reader that
// is overtaken by a writer leaves it out.
// Threads and processes: any may note, any may read, none waits.
#pragma once

#include "runtime/base/fault_trace.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vdist {

/// Zero-filled memory is an empty ring.
struct recent_moments_table {
  static constexpr std::size_t moments_max = 4096; // about 20 recoveries of 64 workers, 400 of four

  struct cell {
    std::atomic<std::uint64_t> ticket{0}; // number of the moment, from 1; 0: it is being written
    std::atomic<std::uint64_t> what{0};   // kind and replica
    std::atomic<std::uint64_t> where{0};  // slot and epoch
    std::atomic<std::int64_t> at_ns{0};
  };

  std::atomic<std::uint64_t> noted{0};
  std::array<cell, moments_max> ring;
};

/// Borrows the table, which outlives it.
class recent_moments {
public:
  explicit recent_moments(recent_moments_table& table) : table_(&table) {}

  void note(const fault_moment& moment);

  /// In the order of noting.
  [[nodiscard]] std::vector<fault_moment> read() const;

private:
  recent_moments_table* table_;
};

/// One recovery of one replica: from the first fault until it takes steps again, however many faults fell into it.
struct recovery_summary {
  std::int32_t replica = 0;
  std::uint32_t epoch = 0;         // that began with its end, or the newest that is prepared
  std::vector<std::int32_t> slots; // of the workers that were at fault, each once; empty: the whole
  /// By fault_moment_kind, nanoseconds of the host's monotonic clock, 0: not (yet). Of what every worker does, the last.
  std::array<std::int64_t, fault_moment_kinds> at_ns{};

  [[nodiscard]] std::int64_t at(fault_moment_kind kind) const {
    return at_ns[static_cast<std::size_t>(kind)];
  }
};

/// The newest `max`, by the time of their fault. What had begun before the first moment is left out, and so are starts.
/// First tokens that come more than first_tokens_within_ns after the end of a recovery did not wait for it.
[[nodiscard]] std::vector<recovery_summary> recoveries_of(std::span<const fault_moment> moments,
                                                          std::size_t max);

inline constexpr std::int64_t first_tokens_within_ns = 5'000'000'000;

} // namespace vdist
