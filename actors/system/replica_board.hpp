// actors/system/replica_board.hpp — the states of all replicas, for whoever waits for them: the engine at its start, people
// who ask, and the guardian, whose new router has to be told them. Thread-safe.
#pragma once

#include "actors/interfaces.hpp"

#include "runtime/base/result.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vdist::actors {

class replica_board {
public:
  explicit replica_board(std::size_t replicas) : states_(replicas, replica_state::loading) {}

  /// `failed` is final.
  void set(std::size_t replica, replica_state state, const std::string& reason) {
    {
      const std::lock_guard lock(mutex_);
      if (states_[replica] == replica_state::failed) {
        return;
      }
      states_[replica] = state;
      if (state == replica_state::failed && !failure_) {
        failure_ = vdist::fail(errc::closed, fmt::format("replica {}: {}", replica, reason));
      }
    }
    changed_.notify_all();
  }

  /// The cluster cannot go on, whatever its replicas do.
  void fail(error cause) {
    {
      const std::lock_guard lock(mutex_);
      failure_ = failure_ ? std::move(failure_) : std::move(cause);
    }
    changed_.notify_all();
  }

  [[nodiscard]] replica_state get(std::size_t replica) const {
    const std::lock_guard lock(mutex_);
    return states_[replica];
  }

  /// Returns when all run, or with the first failure. Loading is bounded by the recovery machine's
  /// own deadline.
  [[nodiscard]] result<void> wait_until_running() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
      return failure_ || std::all_of(states_.begin(), states_.end(), [](replica_state s) {
               return s == replica_state::running;
             });
    });
    return failure_ ? result<void>(*failure_) : result<void>();
  }

  [[nodiscard]] std::optional<error> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<replica_state> states_;
  std::optional<error> failure_;
};

} // namespace vdist::actors
