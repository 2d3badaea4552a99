#include "tests/bench/kernels/cuda_bench_table.hpp"

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <utility>
#include <vector>

namespace vdist::kernels::bench {

namespace {

// One recording: as many calls as take this long at the roofline, within bounds.
constexpr double recording_seconds = 500e-6;
constexpr std::int64_t calls_min = 10;
constexpr std::int64_t calls_max = 200;
constexpr int replays = 5; // of a round
constexpr int rounds = 7;
constexpr auto deadline = std::chrono::seconds(60);

} // namespace

table::table(backend& device, const device_rates& rates, std::string filter)
    : device_(device), rates_(rates), filter_(std::move(filter)) {
  std::printf("%-18s %-30s %10s %9s %9s %8s %14s\n",
              "operation",
              "shape",
              "us",
              "GB/s",
              "TFLOP/s",
              "bound",
              "% of roofline");
}

void table::add(const line& what, const call& one) {
  if (what.operation.find(filter_) == std::string::npos) {
    return;
  }
  const double by_memory = what.bytes / rates_.read_bytes_per_s;
  const double by_arithmetic = what.flops / rates_.gemm_flops_per_s;
  const double at_best = std::max(by_memory, by_arithmetic);
  const double seconds = seconds_of(one, at_best);
  std::printf("%-18s %-30s %10.2f %9.1f %9.1f %8s %14.1f\n",
              what.operation.c_str(),
              what.shape.c_str(),
              seconds * 1e6,
              what.bytes / seconds * 1e-9,
              what.flops / seconds * 1e-12,
              by_memory > by_arithmetic ? "memory" : "matrix",
              100.0 * at_best / seconds);
  std::fflush(stdout);
}

double table::seconds_of(const call& one, double at_best) {
  const auto calls =
      std::clamp(static_cast<std::int64_t>(recording_seconds / at_best), calls_min, calls_max);
  const auto key = ++last_key_;
  const auto work = [&one, calls] {
    for (std::int64_t turn = 0; turn < calls; ++turn) {
      one(turn);
    }
  };
  auto& queue = device_.queue();
  queue.run(key, work); // called, not recorded: loads the kernels
  wait(queue.mark());
  queue.run(key, work); // recorded
  wait(queue.mark());
  // Whole rounds by the host's clock: where the host hands work over more slowly than the device does it, the difference
  // between two marks would be nothing at all.
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < replays; ++i) {
      queue.run(key, work);
    }
    wait(queue.mark());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - before;
    seconds.push_back(taken.count() / static_cast<double>(calls * replays));
  }
  std::nth_element(seconds.begin(), seconds.begin() + rounds / 2, seconds.end());
  return seconds[rounds / 2];
}

void table::wait(queue_mark mark) {
  auto& queue = device_.queue();
  if (!queue.wait(mark, deadline)) {
    throw std::runtime_error(queue.failure().empty() ? "the device does not answer"
                                                     : queue.failure());
  }
}

} // namespace vdist::kernels::bench
