// actors/supervisor/recovery_meter.hpp — from the marks of recoveries and the moments of tokens to how long each part took.
// It belongs to the replica and outlives supervisors and lanes.
//
// B-1 A recovery begins with the first fault that is heard of and ends with the first tokens in a running epoch; a fault
//     before those tokens prolongs it: then `detection` is of the first fault, `stall` of the whole, and the parts between
//     are counted for each epoch that began.
// B-2 Between two marks lies the part that the later one ends; a mark that is earlier than one before it in the order of
//     the parts ended nothing: fence … restore add up to the time from `detected` to `begun`.
// B-3 What clients see, detection, first_token and stall, is only measured when there was something to compute.
// note() by the supervisor's thread, note_tokens() by the step thread: one atomic store and a load, and a lock once per
// recovery.
#pragma once

#include "actors/supervisor/recovery_trace.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/metrics/recovery_metrics.hpp"

#include <atomic>
#include <mutex>
#include <optional>

namespace vdist::supervisor {

class recovery_meter {
public:
  /// `into` is borrowed.
  explicit recovery_meter(metrics::recovery_metrics& into) : into_(into) {}

  /// `busy_since`: since when there is something to compute without a pause; nullopt: there is nothing.
  void note(const recovery_mark& mark, std::optional<time_point> busy_since);

  /// Tokens were committed.
  void note_tokens(time_point now);

private:
  struct open_recovery {
    epoch_times marks;               // of the newest epoch
    bool is_busy = false;            // B-3
    bool has_begun = false;          // its epoch runs, tokens are awaited
    time_point last_tokens;          // before the fault; while is_busy
    std::int64_t tokens_seen_ns = 0; // last_tokens_ns_ when the last mark came
  };

  void on_detected(const recovery_mark& mark, std::optional<time_point> busy_since);
  void on_begun(const recovery_mark& mark);
  void close(time_point first_tokens);

  metrics::recovery_metrics& into_;
  std::atomic<std::int64_t> last_tokens_ns_{0}; // steady clock; 0: none yet
  std::atomic<bool> awaits_tokens_{false};
  std::mutex mutex_;
  std::optional<open_recovery> open_; // guarded by mutex_
};

} // namespace vdist::supervisor
