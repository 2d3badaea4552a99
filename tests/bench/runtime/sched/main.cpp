// Prints what the scheduler costs per step: 256 running sequences, few and many waiting ones.
#include "tests/bench/runtime/sched/sched_bench.hpp"

#include <fmt/core.h>

int main() {
  const vdist::system_clock time;
  fmt::print("{:>6} {:>8} {:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>10}\n",
             "async",
             "running",
             "waiting",
             "cache",
             "table",
             "p50_us",
             "p99_us",
             "max_us",
             "plan_p50",
             "commit_p50",
             "add_p50",
             "sequences");
  const auto measure = [&time](const vdist::bench::sched_load& load) {
    const auto all = vdist::bench::measure_scheduler(load, time);
    fmt::print(
        "{:>6} {:>8} {:>8} {:>6} {:>6} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>10.2f} {:>9.2f} "
        "{:>10.1f}\n",
        load.is_async ? "on" : "off",
        load.running,
        load.waiting,
        load.prefix_cache ? "on" : "off",
        load.keeps_kv ? "on" : "off",
        all.p50_us,
        all.p99_us,
        all.max_us,
        all.plan_p50_us,
        all.commit_p50_us,
        all.add_p50_us,
        all.sequences_mean);
  };
  for (const bool is_async : {false, true}) {
    for (const bool prefix_cache : {true, false}) {
      for (const std::int32_t waiting : {100, 10000}) {
        for (const bool keeps_kv : {false, true}) {
          measure({.waiting = waiting,
                   .prefix_cache = prefix_cache,
                   .is_async = is_async,
                   .keeps_kv = keeps_kv});
        }
      }
    }
  }
  return 0;
}
