// tests/bench/system/collective_bench.hpp — the collectives between processes of this host: over
// shared memory and over Gloo, the same interface, the same sizes, in one run.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::bench {

struct collective_options {
  std::int32_t ranks = 2; // processes
  // Of the largest buffer of a rank; rounded up to whole floats for every rank.
  std::vector<std::size_t> bytes{64, 512, 4096, 8192, 65536, 524288, 4194304};
};

/// Forks the processes, measures and prints. To be called before this process has threads. Errors:
/// invalid_argument, io_failed, and what a rank reports.
[[nodiscard]] result<void> bench_collective(const collective_options& wanted);

} // namespace vdist::bench
