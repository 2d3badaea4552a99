// actors/router/request_meter.hpp — what clients see of requests, as numbers: measured where every token and every end of
// every request passes, whatever front end ordered it, on its way into its stream.
//
// T-1 A token is counted with the first delivery of its position, and not when it is sent again to another stream; the same
//     holds for the end (runtime/metrics/request_metrics.hpp M-2).
// T-2 What is counted of an event is counted before its stream has it: who has read the end of a stream finds all of it.
// T-3 A request counts for the replica that it is at when its event comes.
// By the router's thread, through the request table. Cost per token: some 20 ns; the clock is read once per step.
#pragma once

#include "actors/router/token_sink.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/metrics/request_metrics.hpp"
#include "runtime/protocol/request.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace vdist::actors {

/// What is kept of a request for that, in its entry. time_point{}: not known.
struct request_times {
  time_point accepted;
  time_point first; // token
  time_point last;  // token
  std::int32_t counted = 0;
};

class request_meter {
public:
  /// All borrowed; `by_replica` has one per replica.
  request_meter(std::vector<metrics::request_metrics*> by_replica,
                metrics::refusal_metrics& refusals,
                const clock& time)
      : by_replica_(std::move(by_replica)), refusals_(refusals), time_(time), since_(time.now()) {}

  [[nodiscard]] time_point now() const { return time_.now(); }

  /// It is under way from `now` on; accepted here, or by a process before this one.
  void entered(std::int32_t replica, time_point accepted, time_point now);
  void moved(std::int32_t from, std::int32_t to, time_point now);
  void refused(errc why);

  /// An event that is delivered: a token, an end, or both. `sink` may be null.
  void delivered(request_times& times,
                 const protocol::request& request,
                 std::int32_t replica,
                 const protocol::token_event& event,
                 const token_sink* sink,
                 time_point now);

private:
  [[nodiscard]] metrics::request_metrics& of(std::int32_t replica) {
    return *by_replica_[static_cast<std::size_t>(replica)];
  }

  void count_token(request_times& times,
                   const protocol::request& request,
                   metrics::request_metrics& into,
                   time_point now);
  static void count_end(const request_times& times,
                        const protocol::request& request,
                        metrics::finished_reason reason,
                        metrics::request_metrics& into,
                        time_point now);

  std::vector<metrics::request_metrics*> by_replica_;
  metrics::refusal_metrics& refusals_;
  const clock& time_;
  const time_point since_; // what was accepted before was not accepted here
};

} // namespace vdist::actors
