// tests/bench/kernels/kernel_bench.hpp — the two rooflines of the CPU, measured, not looked up:
// what a plain streaming sum reads and what a plain register loop computes, with the same thread
// team as the kernels. Every figure of a benchmark is given as a share of these, taken in the same
// run.
#pragma once

#include <cstdint>
#include <functional>

namespace vdist::kernels::bench {

/// Bytes per second of summing a buffer of 2 GiB (beyond any cache), best of several passes.
/// Allocates the buffer.
[[nodiscard]] double measure_read_bandwidth(int threads);

/// Floating point operations per second (a fused multiply-add counts two) of independent register
/// accumulators with the best instruction set of the machine, best of several passes.
[[nodiscard]] double measure_fma_peak(int threads);

/// Seconds of one call: the best of `passes` calls after one to warm up. Best, because other work
/// on the machine only ever adds time.
[[nodiscard]] double best_seconds(int passes, const std::function<void()>& call);

} // namespace vdist::kernels::bench
