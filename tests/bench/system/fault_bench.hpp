// tests/bench/system/fault_bench.hpp — how long a stream stands still when something dies, by the hundred: real processes
// under a fault script, and what vdist-run reports of every injection.
// A run strikes as often as the trace of one run has room for; more injections take more runs. Faults that end no epoch are
// measured where the tokens arrive (stream_stall.hpp). All streams are compared with undisturbed ones: figures of streams
// that changed would be worth nothing.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vdist::bench {

struct fault_bench_options {
  std::string config;
  std::vector<std::string> overrides;
  std::string kind = "worker";
  std::int32_t injections = 100;
  std::string json; // a file for the figures; empty: none
};

/// The kinds that can be measured, for people: "worker, node, …".
[[nodiscard]] std::string fault_kinds();

/// Prints n, p50, p99 and the largest of the stall and of every part of a recovery. Errors: invalid_argument (no such kind),
/// not_found (no vdist-run beside this program), internal (a run failed, or its streams changed).
[[nodiscard]] result<void> bench_faults(const fault_bench_options& options);

} // namespace vdist::bench
