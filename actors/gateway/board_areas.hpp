// actors/gateway/board_areas.hpp — what control process and workers keep on the host's board (host/board.hpp, B-4): what has
// to outlive the control process and the vault. Zeros are the beginning of all of it.
//
//   failpoints  the armed rules, their counts and the log of their hits; every process strikes by it
//   trace       what happened around faults; written by the control process alone
//   run         how far each replica has come, with how many workers, once there are fewer than configured
//               (actors/system/reduction.hpp), and what operators have ordered: a successor of the control process goes on
//               behind the one and with the others
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/base/fault_trace.hpp"
#include "runtime/base/recent_moments.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <span>

#include "host/board.hpp"

namespace vdist::actors {

/// Tokens that schedulers of a replica took up again from one before them, in all.
struct kept_tokens {
  std::atomic<std::uint64_t> restored{0};       // whose KV was still there
  std::atomic<std::uint64_t> computed_again{0}; // whose KV was lost
  std::atomic<std::uint64_t> loaded{0};         // whose KV came from the host store; of any request
  std::atomic<std::uint64_t> blocks_saved{0};   // copied to the host store
  std::atomic<std::uint64_t> blocks_unsaved{0}; // full, and given up before they were there
};

/// Numbers of one replica that no later one may repeat; all only rise.
struct replica_progress {
  std::atomic<std::uint64_t> step{0};     // of the newest plan (P-2)
  std::atomic<std::uint32_t> epoch{0};    // the highest that was prepared or has begun
  std::atomic<std::uint32_t> wired{0};    // the last whose channels were made
  std::atomic<std::uint64_t> restarts{0}; // workers that were started in the place of another
  kept_tokens kept;
};

/// With what the cluster goes on, as actors/system/reduction.hpp says. Plain words: written by one process at a time.
struct reduction_words {
  std::int32_t pipeline = 0;
  std::int32_t tensor = 0;
  std::int32_t configured = 0;    // workers of a replica at first
  std::int64_t since_ns = 0;      // of the monotonic clock, which is the host's
  std::uint32_t keeps_sums = 0;   // 1: yes
  std::uint32_t retired_used = 0; // of `retired`
  std::array<std::int32_t, host::life_entries_max> retired{}; // device numbers
  std::array<char, 512> reason{};                             // ends with a zero
};

/// What holds until an operator says otherwise. Written by the thread that serves operators alone.
struct operator_words {
  std::atomic<std::uint32_t> is_draining{0}; // the cluster
  std::array<std::atomic<std::uint32_t>, host::life_entries_max> is_replica_draining{};
  std::atomic<std::uint64_t> restart_claim{0};   // of who replaces part after part; 0: nobody
  std::atomic<std::int64_t> restart_until_ns{0}; // of that clock, when the claim lapses
};

struct run_words {
  std::array<replica_progress, host::life_entries_max> replicas; // one has a process at least
  std::atomic<std::uint32_t> reductions{0}; // so far; written when the words are whole
  std::array<reduction_words, 2> reduction; // the n-th at n % 2
  operator_words operators;
  /// Of the front door, also of the next one, in its order; 0: none yet. A port per replica at most.
  std::array<std::atomic<std::uint32_t>, host::life_entries_max> http_ports{};
  recent_moments_table moments; // of the recoveries of all replicas
};

template <class Words>
[[nodiscard]] Words& words_in(std::span<std::byte> area) {
  return *std::launder(reinterpret_cast<Words*>(area.data()));
}

[[nodiscard]] inline failpoint_table& failpoints_on(host::board_words& board) {
  static_assert(sizeof(failpoint_table) <= host::failpoint_area_bytes);
  return words_in<failpoint_table>(board.failpoints);
}

[[nodiscard]] inline fault_trace_table& trace_on(host::board_words& board) {
  static_assert(sizeof(fault_trace_table) <= host::trace_area_bytes);
  return words_in<fault_trace_table>(board.trace);
}

[[nodiscard]] inline run_words& run_on(host::board_words& board) {
  static_assert(sizeof(run_words) <= host::run_area_bytes);
  return words_in<run_words>(board.run);
}

} // namespace vdist::actors
