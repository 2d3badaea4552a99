// runtime/config/fault_script.hpp — a fault script (TOML) → rules for the failpoints.
//   [[fault]]
//   at = { point = "worker.step_begin", replica = 0, stage = 0, rank = 1, step = 40 }
//   action = "kill_actor"            # throw | kill_actor | delay(ms) | exit(code) | kill9
//   count = 1                        # how often it strikes; 0: always
//   [expect]
//   lost = 0
//   altered = 0
// Every field of `at` but point is optional and narrows the place; a rule with a step strikes at
// the first hit that is not before it. Unknown keys and actions are errors that name file, line and
// the legal ones.
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/base/result.hpp"

#include <filesystem>
#include <string_view>
#include <vector>

namespace vdist::config {

struct fault_script {
  std::vector<failpoint_rule> rules;
};

/// Errors: not_found, bad_configuration.
[[nodiscard]] result<fault_script> load_fault_script(const std::filesystem::path& file);
[[nodiscard]] result<fault_script> parse_fault_script(std::string_view text, std::string_view name);

} // namespace vdist::config
