// actors/gateway/board_areas.hpp — what control process and workers keep on the host's board (host/board.hpp, B-4): what has
// to outlive the control process and the vault. Zeros are the beginning of all of it.
//
//   failpoints  the armed rules, their counts and the log of their hits; every process strikes by it
//   trace       what happened around faults; written by the control process alone
//   run         how far each replica has come: a successor of the control process goes on behind it
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/base/fault_trace.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <span>

#include "host/board.hpp"

namespace vdist::actors {

/// Numbers of one replica that no later one may repeat; all only rise.
struct replica_progress {
  std::atomic<std::uint64_t> step{0};  // of the newest plan (P-2)
  std::atomic<std::uint32_t> epoch{0}; // the highest that was prepared or has begun
  std::atomic<std::uint32_t> wired{0}; // the last whose channels were made
};

struct run_words {
  std::array<replica_progress, host::life_entries_max> replicas; // one has a process at least
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
