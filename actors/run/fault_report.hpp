// actors/run/fault_report.hpp — what a fault script did: one row per injection with the parts of its recovery, the
// comparison with the undisturbed run, and what of the expectations failed. As plain values, as a table, and as JSON.
//
//   hit ──detection──▶ detected ──fence──▶ fenced ─┬─quiesce──▶ last survivor idle ───────────┬─rebuild──▶ begun ─first token─▶
//                                                  └─respawn──▶ spawned ──attach──▶ attached ─┘
//
// R-1 A row's recovery is that of the first epoch that begins in the replica of the hit after it; stall is hit → first tokens.
//     Faults that hit during one recovery share its end; one that comes before the first tokens makes the stall longer.
// R-2 A fault that may pass without a recovery (a delay, a short stop, a lost frame, whatever hits no replica: the vault,
//     the router) has one only if no other came in between.
// R-3 What did not happen, or was not observed, is absent: nothing is guessed.
// Pure functions.
#pragma once

#include "runtime/api/compare_results.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/base/fault_trace.hpp"
#include "runtime/config/fault_script.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vdist::actors {

/// Milliseconds.
struct fault_row {
  std::size_t fault = 0; // number in the script, from 1
  std::string action;
  std::string point;
  std::int32_t replica = -1;
  std::int32_t rank = -1; // slot within the replica
  std::int64_t step = -1;
  double at_ms = 0; // since the faults were armed
  std::optional<double> detection_ms;
  std::optional<double> fence_ms;
  std::optional<double> quiesce_ms;
  std::optional<double> respawn_ms;
  std::optional<double> attach_ms;
  std::optional<double> rebuild_ms;
  std::optional<double> first_token_ms;
  std::optional<double> stall_ms;
  std::optional<double> spare_ms; // hit → its worker has a spare again that is ready
};

struct fault_report {
  std::string script; // its file
  std::vector<fault_row> rows;
  std::uint64_t hits = 0;                            // rows beyond the log's bound are missing
  std::uint64_t restarts = 0;                        // of workers
  std::uint64_t tokens_restored = 0;                 // KV found by new schedulers, in tokens
  std::uint64_t prefilled_again = 0;                 // tokens whose KV was lost
  std::optional<api::results_comparison> comparison; // with --verify
  std::vector<std::string> failures; // expectations that were not met; empty: passed
};

/// One row per hit, by time. `armed`: the rules as they are listed, in the order of arming.
[[nodiscard]] std::vector<fault_row> rows_of(std::span<const failpoint_hit> hits,
                                             std::span<const armed_failpoint> armed,
                                             const fault_record& record);

/// What the report does not fulfil: the script's expectations, and that every rule was hit.
[[nodiscard]] std::vector<std::string> failures_of(const fault_report& report,
                                                   const config::fault_expectations& expect,
                                                   std::span<const armed_failpoint> armed);

/// For people: the rows, then what was compared, then the verdict.
[[nodiscard]] std::string to_table(const fault_report& report);
[[nodiscard]] std::string to_json(const fault_report& report);

} // namespace vdist::actors
