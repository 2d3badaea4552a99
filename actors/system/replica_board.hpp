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
      if (state == replica_state::failed) {
        note_loss(vdist::fail(errc::closed, fmt::format("replica {}: {}", replica, reason)));
      }
    }
    changed_.notify_all();
  }

  /// The cluster cannot go on, whatever its replicas do.
  void fail(error cause) {
    {
      const std::lock_guard lock(mutex_);
      first_loss_ = first_loss_ ? std::move(first_loss_) : cause;
      failure_ = failure_ ? std::move(failure_) : std::move(cause);
    }
    changed_.notify_all();
  }

  [[nodiscard]] replica_state get(std::size_t replica) const {
    const std::lock_guard lock(mutex_);
    return states_[replica];
  }

  /// Returns when all run, or with the first that does not come to it. `may_lack`: the cluster ran before, and goes on
  /// without those that do not, as long as there is another. Loading is bounded by the recovery machine's own deadline.
  [[nodiscard]] result<void> wait_until_running(bool may_lack) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, may_lack] {
      const auto is_settled = [may_lack](replica_state state) {
        return state == replica_state::running || (may_lack && state == replica_state::failed);
      };
      return failure_ || (first_loss_ && !may_lack)
             || std::all_of(states_.begin(), states_.end(), is_settled);
    });
    const auto& cause = may_lack ? failure_ : first_loss_;
    return cause ? result<void>(*cause) : result<void>();
  }

  /// Why nobody is left: of the replica that was given up last.
  [[nodiscard]] std::optional<error> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

private:
  void note_loss(error cause) {
    first_loss_ = first_loss_ ? std::move(first_loss_) : cause;
    const bool is_last = std::all_of(states_.begin(), states_.end(), [](replica_state state) {
      return state == replica_state::failed;
    });
    if (is_last && !failure_) {
      failure_ = std::move(cause);
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<replica_state> states_;
  std::optional<error> first_loss_; // of a replica, or of the cluster
  std::optional<error> failure_;    // nobody is left
};

} // namespace vdist::actors
