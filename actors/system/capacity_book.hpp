// actors/system/capacity_book.hpp — which replicas were given up, when and why, and how many workers are left of those that
// the cluster was configured with. Thread-safe.
#pragma once

#include "actors/system/model_setup.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/metrics/capacity.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vdist::actors {

/// Of one replica.
struct replica_capacity {
  std::int32_t workers = 0;
  std::int32_t configured = 0;
  std::optional<time_point> since; // there are fewer; nullopt: there are not
  std::string reason;              // of that
};

class capacity_book {
public:
  /// `reductions`: so far. `setup` has its layout.
  capacity_book(const model_setup& setup, std::uint32_t reductions) {
    const auto& sizes = setup.layout->sizes();
    replica_capacity each{.workers = sizes.replica_world(), .configured = sizes.replica_world()};
    if (setup.reduced) {
      each.configured = std::max(setup.reduced->configured, each.workers);
      each.since = setup.reduced->since;
      each.reason = setup.reduced->reason;
    }
    replicas_.assign(static_cast<std::size_t>(sizes.data), each);
    gauge_.workers = each.workers * sizes.data;
    gauge_.workers_configured = each.configured * sizes.data;
    gauge_.reductions = reductions;
  }

  /// The replica is given up; only the first time counts. True: no other one is left.
  bool lose(std::size_t replica, time_point now, std::string reason) {
    const std::lock_guard lock(mutex_);
    auto& lost = replicas_.at(replica);
    if (lost.workers > 0) {
      gauge_.workers -= lost.workers;
      ++gauge_.replicas_lost;
      lost.workers = 0;
      lost.since = now;
      lost.reason = std::move(reason);
    }
    return std::all_of(
        replicas_.begin(), replicas_.end(), [](const auto& one) { return one.workers == 0; });
  }

  [[nodiscard]] replica_capacity of(std::size_t replica) const {
    const std::lock_guard lock(mutex_);
    return replicas_.at(replica);
  }

  [[nodiscard]] const metrics::capacity& gauge() const { return gauge_; }

private:
  mutable std::mutex mutex_;
  std::vector<replica_capacity> replicas_; // guarded by mutex_
  metrics::capacity gauge_;                // written under mutex_
};

} // namespace vdist::actors
