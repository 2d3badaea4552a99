// tests/bench/runtime/sched/sched_bench.hpp — what the scheduler alone costs per step. A steady
// state: `running` sequences decode, those that end are replaced from `waiting` others, of which
// there are always the same number. With `is_async` the next step is planned before the last one is
// committed. Timed: plan() and commit(), nothing else.
#pragma once

#include "runtime/base/clock.hpp"

#include <cstdint>

namespace vdist::bench {

struct sched_load {
  std::int32_t running = 256;
  std::int32_t waiting = 100;
  std::int32_t prompt_tokens = 512;
  std::int32_t generated_tokens = 256; // of each request
  std::int32_t steps = 2000;           // measured
  std::int32_t warmup = 300;           // before, not measured
  bool prefix_cache = true;
  bool is_async = false;
  bool keeps_kv = true; // writes the table of KV that outlives it
};

struct sched_figures {
  double p50_us = 0; // plan + commit of one step
  double p99_us = 0;
  double max_us = 0;
  double plan_p50_us = 0;
  double commit_p50_us = 0;
  double add_p50_us = 0; // one add(), outside the step
  double sequences_mean = 0;
};

[[nodiscard]] sched_figures measure_scheduler(const sched_load& load, const clock& time);

} // namespace vdist::bench
