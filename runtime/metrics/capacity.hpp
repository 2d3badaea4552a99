// runtime/metrics/capacity.hpp — how much of a cluster is there. Written where a replica is lost, read by anybody.
#pragma once

#include <atomic>
#include <cstdint>

namespace vdist::metrics {

/// Relaxed: a reader may see a loss half counted.
struct capacity {
  std::atomic<std::int32_t> workers{0};            // gauge: of replicas that were not given up
  std::atomic<std::int32_t> workers_configured{0}; // gauge
  std::atomic<std::uint64_t> replicas_lost{0};     // counter: given up by this process
  std::atomic<std::uint64_t> reductions{
      0}; // counter: to fewer workers, since the start of the cluster
};

} // namespace vdist::metrics
