// actors/front_door/cluster_observation.hpp — one look at a cluster, as plain values: what the live page is made of.
#pragma once

#include "actors/control/cluster_status.hpp"

#include "runtime/base/recent_moments.hpp"
#include "runtime/metrics/histogram.hpp"
#include "runtime/metrics/request_metrics.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::actors {

/// Recoveries that are shown; older ones are not told.
inline constexpr std::size_t recoveries_shown_max = 64;

struct cluster_observation {
  control::cluster_status status;
  std::vector<recovery_summary> recoveries; // the newest, recoveries_shown_max at most
  std::uint64_t generated_tokens = 0;       // since the start of the control process; only rises
  metrics::histogram_snapshot time_to_first_token; // seconds; without bounds: not measured
  metrics::histogram_snapshot inter_token_latency; // seconds; without bounds: not measured
  std::int64_t at_ns = 0;                          // of the look; monotonic clock of the host
};

/// Adds what was measured of the requests of one replica.
inline void add_requests(cluster_observation& to, const metrics::request_metrics& of) {
  const auto add = [](metrics::histogram_snapshot& sum, const metrics::histogram_snapshot& more) {
    if (sum.bounds.empty()) {
      sum = more;
    } else {
      sum.add(more);
    }
  };
  to.generated_tokens += of.generation_tokens;
  add(to.time_to_first_token, of.time_to_first_token.snapshot());
  add(to.inter_token_latency, of.inter_token_latency.snapshot());
}

} // namespace vdist::actors
