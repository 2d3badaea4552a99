#include "tests/fault/fault_cells.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fmt/format.h>
#include <set>
#include <utility>

namespace vdist::testing {

namespace {

using place = fault_place;

constexpr std::array classes{
    // kill -9 and other ends of a worker process
    fault_class{"worker killed with a plan", place::worker_begin, "kill9"},
    fault_class{"worker killed before its answer", place::worker_end, "kill9"},
    fault_class{"worker crashes", place::worker_begin, "segv"},
    fault_class{"worker exits", place::worker_end, "exit(1)"},
    fault_class{"worker throws", place::worker_begin, "throw"},
    fault_class{"worker actor killed", place::worker_end, "kill_actor"},
    fault_class{"two workers killed", place::two_workers, "kill9"},
    fault_class{"replacements killed", place::replacement, "2*kill9"},
    fault_class{.name = "replacement stuck while it loads",
                .place = place::replacement,
                .action = "hang",
                .setting = "fault_tolerance.load_stall_ms=1000"},
    fault_class{"idle worker killed", place::outside, {}, "worker", SIGKILL},
    // workers that are late
    fault_class{"worker stopped 0.1 s", place::worker_begin, "stop(100)"},
    fault_class{"worker stopped 1 s", place::worker_begin, "stop(1000)"},
    fault_class{.name = "worker stopped 10 s",
                .place = place::worker_begin,
                .action = "stop(10000)",
                .is_long = true},
    fault_class{"idle worker stopped", place::outside, {}, "worker", SIGSTOP},
    fault_class{.name = "zombie returns",
                .place = place::worker_end,
                .action = "stop(3500)",
                .setting = "fault_tolerance.detect_ms=60000",
                .is_long = true},
    fault_class{"worker stuck", place::worker_begin, "hang"},
    fault_class{"worker twice as slow", place::worker_end, "40*slow(2)"},
    fault_class{"worker ten times slower", place::worker_end, "20*slow(10)"},
    // other processes and actors
    fault_class{"node killed", place::executor, "kill9"},
    fault_class{"node killed with a request", place::router_submit, "kill9"},
    fault_class{"node killed with tokens", place::router_tokens, "kill9"},
    fault_class{"node crashes", place::executor, "segv"},
    fault_class{"node stopped 1 s", place::executor, "stop(1000)"},
    fault_class{"vault killed", place::outside, {}, "vault", SIGKILL},
    fault_class{"vault stopped", place::outside, {}, "vault", SIGSTOP},
    fault_class{"executor killed", place::executor, "kill_actor"},
    fault_class{"executor throws", place::executor, "throw"},
    fault_class{"router killed with a request", place::router_submit, "kill_actor"},
    fault_class{"router throws with tokens", place::router_tokens, "throw"},
    fault_class{"scheduler killed", place::scheduler, "kill_actor"},
    fault_class{"supervisor killed", place::supervisor, "kill_actor"},
    fault_class{"stage killed", place::stage, "kill_actor"},
    // a control process that lives and does not get on
    fault_class{.name = "step lane stuck",
                .place = place::executor,
                .action = "hang",
                .setting = "fault_tolerance.control_stall_ms=500"},
    fault_class{.name = "router stuck",
                .place = place::router_tokens,
                .action = "hang",
                .setting = "fault_tolerance.control_stall_ms=500"},
    fault_class{.name = "scheduler stuck",
                .place = place::scheduler,
                .action = "hang",
                .setting = "fault_tolerance.control_stall_ms=500"},
    fault_class{.name = "supervisor stuck",
                .place = place::supervisor,
                .action = "hang",
                .setting = "fault_tolerance.control_stall_ms=500"},
    fault_class{.name = "stage stuck",
                .place = place::stage,
                .action = "hang",
                .setting = "fault_tolerance.control_stall_ms=500"},
    // messages
    fault_class{"plan dropped", place::plans, "drop"},
    fault_class{"plan doubled", place::plans, "dup"},
    fault_class{"plan reordered", place::plans, "reorder"},
    fault_class{"plan corrupted", place::plans, "corrupt"},
    fault_class{"plan truncated", place::plans, "truncate"},
    fault_class{"plan of an old epoch", place::plans, "old_epoch"},
    fault_class{"ring of plans full", place::plans, "full"},
    fault_class{"answer dropped", place::results, "drop"},
    fault_class{"answer doubled", place::results, "dup"},
    fault_class{"answer reordered", place::results, "reorder"},
    fault_class{"answer corrupted", place::results, "corrupt"},
    fault_class{"answer truncated", place::results, "truncate"},
    fault_class{"answer of an old epoch", place::results, "old_epoch"},
    fault_class{"ring of answers full", place::results, "full"},
    fault_class{"command dropped", place::commands, "drop"},
    fault_class{"command doubled", place::commands, "dup"},
    fault_class{"command reordered", place::commands, "reorder"},
    fault_class{"command corrupted", place::commands, "corrupt"},
    fault_class{"command truncated", place::commands, "truncate"},
    fault_class{"command of an old epoch", place::commands, "old_epoch"},
    fault_class{"ring of commands full", place::commands, "full"},
    fault_class{"event dropped", place::events, "drop"},
    fault_class{"event doubled", place::events, "dup"},
    fault_class{"event reordered", place::events, "reorder"},
    fault_class{"event corrupted", place::events, "corrupt"},
    fault_class{"event truncated", place::events, "truncate"},
    fault_class{"event of an old epoch", place::events, "old_epoch"},
    fault_class{"ring of events full", place::events, "full"},
    // requests that workers die of
    fault_class{"poison request", place::poison, "0*kill9"},
    fault_class{"poison request that throws", place::poison, "0*throw"},
    // resources
    fault_class{"allocation fails", place::worker_begin, "oom"},
    fault_class{"device error", place::worker_end, "cuda_error"},
    fault_class{"device breaks off", place::worker_begin, "illegal_address"},
    fault_class{"device stuck", place::worker_begin, "stuck_kernel"},
    fault_class{"copy stuck", place::worker_begin, "stuck_copy"},
    fault_class{"meeting skipped", place::worker_begin, "skip_collective"},
    fault_class{"bit flipped", place::worker_begin, "flip_bit"},
    fault_class{.name = "worker killed, blocks short",
                .place = place::worker_begin,
                .action = "kill9",
                .setting = few_blocks},
    fault_class{.name = "executor killed, blocks short",
                .place = place::executor,
                .action = "kill_actor",
                .setting = few_blocks},
    // writers that end in the middle of a slot
    fault_class{"node killed inside a plan", place::plan_slot, "kill9"},
    fault_class{"worker killed inside an answer", place::result_slot, "kill9"},
    fault_class{"node killed inside a command", place::command_slot, "kill9"},
    fault_class{"worker killed inside an event", place::event_slot, "kill9"},
    // not there yet
};

constexpr std::array splits{
    fault_split{"tensor 2", 2, 1, 1},
    fault_split{"pipeline 2", 1, 2, 1},
    fault_split{"tensor 2 x pipeline 2", 2, 2, 1},
    fault_split{"data 2", 1, 1, 2},
};

constexpr std::array phases{fault_phase::prefill,
                            fault_phase::chunked_prefill,
                            fault_phase::decode,
                            fault_phase::admission,
                            fault_phase::recovery};
constexpr std::array samplings{
    fault_sampling::greedy, fault_sampling::seeded, fault_sampling::logprobs};

std::string_view to_string(fault_phase phase) {
  constexpr std::array names{"prefill", "chunked prefill", "decode", "admission", "recovery"};
  return names.at(static_cast<std::size_t>(phase));
}

std::string_view to_string(fault_sampling sampling) {
  constexpr std::array names{"greedy", "seeded", "logprobs"};
  return names.at(static_cast<std::size_t>(sampling));
}

/// A value of one dimension and one of another.
using value_pair = std::pair<std::pair<int, int>, std::pair<int, int>>;

/// What a cell covers: the pairs of its place, phase, sampling and split, and its class.
std::vector<value_pair> pairs_of(const fault_cell& cell) {
  const std::array values{static_cast<int>(cell.what->place),
                          static_cast<int>(cell.phase),
                          static_cast<int>(cell.sampling),
                          static_cast<int>(cell.split - splits.data())};
  constexpr int dimensions = 4;
  std::vector<value_pair> pairs;
  for (int left = 0; left < dimensions; ++left) {
    for (int right = left + 1; right < dimensions; ++right) {
      pairs.push_back({{left, values.at(static_cast<std::size_t>(left))},
                       {right, values.at(static_cast<std::size_t>(right))}});
    }
  }
  const std::pair own{dimensions, static_cast<int>(cell.what - classes.data())};
  pairs.emplace_back(own, own);
  return pairs;
}

} // namespace

std::span<const fault_class> fault_classes() {
  return classes;
}

std::span<const fault_split> fault_splits() {
  return splits;
}

std::string name_of(const fault_cell& cell) {
  return fmt::format("{} | {} | {} | {}",
                     cell.what->name,
                     to_string(cell.phase),
                     to_string(cell.sampling),
                     cell.split->name);
}

std::vector<fault_cell> all_cells() {
  std::vector<fault_cell> all;
  for (const auto& what : classes) {
    for (const auto phase : phases) {
      for (const auto sampling : samplings) {
        for (const auto& split : splits) {
          const fault_cell cell{&what, phase, sampling, &split};
          if (plan_of(cell, 1)) {
            all.push_back(cell);
          }
        }
      }
    }
  }
  return all;
}

std::vector<fault_cell> pairwise(std::span<const fault_cell> cells) {
  std::set<value_pair> missing;
  for (const auto& cell : cells) {
    for (const auto& pair : pairs_of(cell)) {
      missing.insert(pair);
    }
  }
  const auto gain_of = [&missing](const fault_cell& cell) {
    const auto pairs = pairs_of(cell);
    return std::count_if(pairs.begin(), pairs.end(), [&missing](const auto& pair) {
      return missing.contains(pair);
    });
  };
  std::vector<fault_cell> chosen;
  while (!missing.empty()) {
    const auto best = std::max_element(
        cells.begin(), cells.end(), [&gain_of](const auto& left, const auto& right) {
          return gain_of(left) < gain_of(right);
        });
    for (const auto& pair : pairs_of(*best)) {
      missing.erase(pair);
    }
    chosen.push_back(*best);
  }
  return chosen;
}

} // namespace vdist::testing
