// actors/front_door/live_snapshot.hpp — looks at a cluster, put into the JSON that the live page reads. Pure: who looks,
// and when, is live_feed.hpp.
//
// An event of GET /v1/cluster/events has the data
//   {"now_ms": 81234.5,                      monotonic clock of the host: later events have more, also of another process
//    "status": {…},                          as GET /v1/cluster (control::cluster_status)
//    "standby": [4711],                      pids of spare workers; more is in status.spares
//    "generated_tokens": 90210,              by this control process
//    "tokens_per_s": 512.3,                  generated, over the last second
//    "latency": {"window_s": 30.0,           over what time; less than 30 just after somebody has begun to watch
//                "ttft_s": {"count": 17, "p50": 0.021, "p90": 0.048, "p99": 0.09},   time to first token, seconds;
//                "itl_s": {…}},                                                        null each when count is 0
//    "recoveries": [{"replica": 0, "epoch": 3, "slots": [1],  epoch that it led to; workers at fault, [] the whole replica
//                    "at_ms": 80012.1,                        of the fault, same clock as now_ms
//                    "phases_ms": {"fenced": 0.1, "quiesced": 0.4, "spawned": 1.2, "attached": 9.8, "begun": 10.1,
//                                  "first_tokens": 12.0, "spare_ready": 390.0}}]}   after the fault; what has not
//                                      come is missing. "given_up" instead of "begun": the replica has ended
// and the last one of a server that closes {"end": true}. Members are only added, never renamed.
#pragma once

#include "actors/front_door/cluster_observation.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <string>

namespace vdist::actors {

/// Tells of the last seconds what only differences of looks can tell. Not thread-safe.
class live_window {
public:
  /// The data of one event. `now` is later than what was added before.
  [[nodiscard]] std::string add(const cluster_observation& now);

private:
  static constexpr std::chrono::nanoseconds length = std::chrono::seconds(30);
  static constexpr std::chrono::nanoseconds rate_length = std::chrono::seconds(1);
  /// A longer pause between two looks: nobody watched, and the window begins anew.
  static constexpr std::chrono::nanoseconds pause_max = std::chrono::seconds(5);

  struct look {
    std::int64_t at_ns = 0;
    std::uint64_t generated_tokens = 0;
    metrics::histogram_snapshot time_to_first_token;
    metrics::histogram_snapshot inter_token_latency;
  };

  void forget(std::int64_t now_ns);
  [[nodiscard]] double tokens_per_s(const look& now) const;

  std::deque<look> looks_; // the newest last; the first is the beginning of the window
};

/// [{"replica": …}, …], as above.
void append_recoveries(std::string& out, std::span<const recovery_summary> recoveries);

/// {"status": {…}, "recoveries": […]}: the answer of GET /v1/cluster.
[[nodiscard]] std::string cluster_json(const control::cluster_status& status,
                                       std::span<const recovery_summary> recoveries);

} // namespace vdist::actors
