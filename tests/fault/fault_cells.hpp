// tests/fault/fault_cells.hpp — what the fault matrix is made of: every class of fault × phase × sampling × split of the
// model, and how each of them is brought about.
// A cell is a fault script. Phases are hit by points, never by sleeping: where the fault's own point does not mark the
// phase, a second rule holds the cluster in it until the fault has struck (`wait`).
// C-1 Every rule of a script must be hit, else vdist-run fails: a cell that did not happen cannot pass.
// C-2 A class that cannot happen in a phase is not in the matrix for it; one whose mechanism is not there yet is, as skipped.
// Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing {

enum class fault_phase { prefill, chunked_prefill, decode, admission, recovery };
enum class fault_sampling { greedy, seeded, logprobs };

struct fault_split {
  std::string_view name;
  int tensor = 1;
  int pipeline = 1;
  int data = 1;

  [[nodiscard]] int last_slot() const { return tensor * pipeline - 1; } // of a replica
};

/// Where a fault strikes.
enum class fault_place {
  worker_begin,  // the last worker of replica 0 that has a plan
  worker_end,    // the same, when it has computed
  two_workers,   // the first and the last worker at the same step
  replacement,   // a worker, and each replacement while it loads
  executor,      // before it sends a plan
  poison,        // the last worker of replica 0, at every step that has the first request in it
  router_submit, // between ledger and table
  router_tokens, // before it delivers
  scheduler,     // when it gets a request
  supervisor,    // when it hears of a worker that died
  stage,         // the same
  plans,         // a plan on its way to the last stage
  results,       // an answer of the last worker
  commands,      // a command to the last worker
  events,        // an event of the last worker
  plan_slot,     // the node, half way through writing a plan
  result_slot,   // the last worker, half way through writing an answer
  command_slot,  // the node, half way through writing a command
  event_slot,    // the last worker, half way through writing an event
  outside,       // a signal from outside while the cluster is held in the phase
};

/// What happens.
struct fault_class {
  std::string_view name;
  fault_place place = fault_place::worker_begin;
  std::string_view action;    // of a fault script
  std::string_view victim{};  // of outside: "vault", "node", "worker"
  int signal = 0;             // of outside
  std::string_view setting{}; // behind --set; empty: none
  bool is_long = false;       // seconds each: only with VDIST_TEST_LONG
  std::string_view skipped{}; // why it cannot be brought about yet
};

/// Stands for the setting that gives a worker 13 blocks for its sequences, which is not enough for all of them at once.
inline constexpr std::string_view few_blocks = "few blocks";

/// One way to disturb a run.
struct fault_cell {
  const fault_class* what = nullptr;
  fault_phase phase = fault_phase::decode;
  fault_sampling sampling = fault_sampling::greedy;
  const fault_split* split = nullptr;
};

[[nodiscard]] std::span<const fault_class> fault_classes();
[[nodiscard]] std::span<const fault_split> fault_splits();
[[nodiscard]] std::string name_of(const fault_cell& cell);

/// How a cell is brought about.
struct fault_plan {
  std::vector<std::string> rules;
  std::optional<std::size_t>
      held;           // the rule that, once hit, holds the cluster for a signal from outside
  std::string victim; // of that signal: "vault", "node", "worker 1"

  /// The script.
  [[nodiscard]] std::string text() const;
};

/// `results`: lines that the run will write. nullopt: the class cannot happen in that phase (C-2).
[[nodiscard]] std::optional<fault_plan> plan_of(const fault_cell& cell, std::size_t results);

/// Every cell that can happen, the skipped ones included.
[[nodiscard]] std::vector<fault_cell> all_cells();

/// As few of `cells` as a greedy choice needs to have every class, and every pair of (place, phase, sampling, split) values,
/// that is in them.
[[nodiscard]] std::vector<fault_cell> pairwise(std::span<const fault_cell> cells);

} // namespace vdist::testing
