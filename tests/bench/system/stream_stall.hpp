// tests/bench/system/stream_stall.hpp — how long whoever reads a stream waits when something dies that no step depends on,
// or that takes all others with it: measured where the tokens arrive.
// Each injection is one fault; the stall is the longest time without a token that began before the fault's effect was over.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::bench {

struct stream_stall_options {
  std::string config;
  std::vector<std::string> overrides;
  std::int32_t injections = 20;
};

/// Arms `rule` in an engine of this process, again and again, while a sequence is read; a second request is submitted behind
/// each arming, for points that only requests reach. Milliseconds. Errors: of the engine; timed_out (the rule was never hit).
[[nodiscard]] result<std::vector<double>> stalls_of_actor(const stream_stall_options& options,
                                                          std::string_view rule);

/// Kills the vault under a prompt of vdist-run that streams, one run for each injection; from the kill to the next
/// piece of text. The text must be that of a run in which nothing happened. Milliseconds. Errors: not_found (no vdist-run), internal (the
/// text has changed).
[[nodiscard]] result<std::vector<double>> stalls_of_vault(const stream_stall_options& options);

/// vdist-run beside this program. Error: not_found.
[[nodiscard]] result<std::string> find_vdist_run();

} // namespace vdist::bench
