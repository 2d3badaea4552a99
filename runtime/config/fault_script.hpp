// runtime/config/fault_script.hpp — a fault script (TOML) → rules for the failpoints.
//   seed = 7                         # of everything that is drawn; 0 by default
//   [[fault]]                        # a place and an action
//   at = { point = "worker.step_begin", replica = 0, stage = 0, rank = 1, step = 40, request = 3, nth = 1 }
//   action = "50%2*delay(20)->kill9" # [p%][n*]action(arg), joined by -> (failpoint_rule.hpp)
//   count = 1                        # how often a link without n* acts; 0: always
//   [[fault]]                        # the same in one line, as vdist-ctl has it
//   rule = "worker.step_begin rank=1 step=40 kill9"
//   [[fault]]                        # a nemesis: something of the list, again and again
//   every_ms = 500                   # or every_s
//   choose = ["kill9 worker", "stop(500) worker", "kill_actor executor"]
//   count = 0                        # strikes at most; 0: as long as there is work
//   [expect]                         # else the run fails; the first three are 0 by default
//   lost = 0
//   altered = 0
//   doubled = 0
//   stall_ms_max = 1000              # of a recovery, from the strike to the first token behind it
//   restarts_max = 5                 # of workers
//   prefilled_again_max = 0          # tokens whose KV was lost by a fault
// Every field of `at` but point is optional and narrows the place; a rule with a step strikes at the first hit that is not
// before it; steps are counted from the arming on. Unknown keys, points and actions are errors that name file, line, the nearest and the legal ones.
#pragma once

#include "runtime/base/failpoint_rule.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::config {

/// What the faults of a script strike. Threads share one process: an action that ends or holds a
/// process is refused for them, because nobody would be left to recover.
enum class fault_victims : bool { threads, processes };

/// One choice of a nemesis: "kill9 worker 1" or "kill_actor executor". Of a process (node, vault) only what strikes a
/// process is legal, and of the vault, which reaches no point while all is well, only kill9.
struct nemesis_choice {
  enum class target : std::uint8_t { worker, executor, router, scheduler, supervisor, node, vault };
  target what = target::worker;
  std::optional<std::int32_t> rank; // of a worker, over the cluster; unset: drawn
  failpoint_link link;

  bool operator==(const nemesis_choice&) const = default;
};

/// Where a choice may strike, in words of scripts.
struct nemesis_target {
  std::string_view name;
  std::string_view point; // that its rule names; of a worker one of two
};

[[nodiscard]] const nemesis_target& facts_of(nemesis_choice::target target) noexcept;

struct nemesis {
  std::int64_t every_ms = 0;
  std::vector<nemesis_choice> choices;
  std::uint32_t count = 0; // strikes; 0: without end
};

struct fault_expectations {
  std::uint64_t lost = 0;    // results that are missing
  std::uint64_t altered = 0; // results that differ
  std::uint64_t doubled = 0; // results that are there twice
  std::optional<std::int64_t> stall_ms_max;
  std::optional<std::int64_t> restarts_max;
  std::optional<std::int64_t> prefilled_again_max; // tokens
};

struct fault_script {
  std::vector<failpoint_rule> rules; // in the order of the file
  std::vector<nemesis> nemeses;
  fault_expectations expect;
  std::uint64_t seed = 0;
};

inline constexpr std::size_t nemeses_max = 8;
inline constexpr std::size_t nemesis_choices_max = 16;

/// Errors: not_found, bad_configuration.
[[nodiscard]] result<fault_script>
load_fault_script(const std::filesystem::path& file,
                  fault_victims victims = fault_victims::processes);
[[nodiscard]] result<fault_script> parse_fault_script(
    std::string_view text, std::string_view name, fault_victims victims = fault_victims::processes);

/// One rule in words: "worker.step_begin rank=1 step=40 50%2*delay(20)->kill9". Error:
/// invalid_argument, names what is legal.
[[nodiscard]] result<failpoint_rule>
parse_fault_rule(std::string_view text, fault_victims victims = fault_victims::processes);

} // namespace vdist::config
