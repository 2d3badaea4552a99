// actors/run/command_line.hpp — the command line of vdist-run → one struct.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::actors {

inline constexpr std::string_view version = "0.1.0";

struct run_options {
  std::string config;                 // the cluster.toml
  std::vector<std::string> overrides; // --set key=value
  std::optional<std::string> prompt;  // --prompt
  std::string input;                  // --input: JSON lines
  std::string output;                 // --output: JSON lines
  std::string faults;                 // --faults: a fault script
  std::string faults_report;          // --faults-report: BASE of the files with what it did
  bool wants_verify = false;          // --verify: compare with an undisturbed run
  bool wants_json = false;            // --json
  bool is_check = false;              // --check
  bool wants_topology = false;        // --dump-topology
  bool is_quiet = false;              // --quiet: no start-up lines, no progress
  int host_link = -1; // --host-link: descriptor of the host supervisor; for vdist-node alone

  /// Whether anything is to be loaded and run.
  [[nodiscard]] bool needs_workers() const { return !is_check && !wants_topology; }

  // Sampling; unset: the model's defaults.
  std::optional<std::int32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<std::int32_t> top_k;
  std::optional<std::uint64_t> seed;
  std::optional<std::int32_t> logprobs;
  std::vector<std::string> stop;
};

/// What parsing came to: options, or text to print and an exit code (--help, --version).
struct command_line {
  run_options options;
  std::optional<int> exit_code;
  std::string text;
};

/// Error: bad_configuration, one line.
[[nodiscard]] result<command_line> parse_command_line(int argc, const char* const* argv);

} // namespace vdist::actors
