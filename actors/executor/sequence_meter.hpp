// actors/executor/sequence_meter.hpp — what becomes of requests between the scheduler's queue and their last token, as
// numbers. Used by the step lane alone, on its thread.
//
// Only of requests that come without tokens: the queue and the prefill of one that is taken up again were its first lane's.
// Of scheduler_stats only what has been added since the last look is counted, so the numbers go on behind lanes that end.
// Cost: per step a pass over flags and events; per request three visits of a table.
#pragma once

#include "actors/interfaces.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/metrics/request_metrics.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/sched/scheduler.hpp"

#include <unordered_map>

namespace vdist::actors {

class sequence_meter {
public:
  /// Borrowed; null: nothing is measured.
  explicit sequence_meter(metrics::request_metrics* into) : into_(into) {}

  /// The scheduler has it from now on.
  void queued(request_id id, time_point now);
  /// The step goes out.
  void planned(const protocol::step_plan& plan, time_point now);
  /// Events are in the ledger.
  void committed(const token_events& events, time_point now);
  /// At the end of a step.
  void note(const sched::scheduler_stats& stats);

private:
  struct sequence_times {
    time_point queued;
    time_point planned; // first; time_point{}: not yet
    time_point first;   // token; time_point{}: not yet
  };

  metrics::request_metrics* into_;
  std::unordered_map<request_id, sequence_times> live_; // as many as the scheduler has
  sched::scheduler_stats seen_;
};

} // namespace vdist::actors
