// host/restart_history.hpp — how often something was started again lately, and how long to rest before the next time.
// The first restart comes at once, each further one within the window after twice the rest of the one before; more than
// `restarts_max` within the window are refused: what fails always does not go on for ever.
// Not thread-safe.
#pragma once

#include "runtime/base/clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

namespace vdist::host {

struct restart_limits {
  std::size_t restarts_max = 5; // within `window`
  duration window = std::chrono::seconds(60);
  duration backoff = std::chrono::milliseconds(50); // before the second one
};

class restart_history {
public:
  explicit restart_history(const restart_limits& limits) : limits_(limits) {}

  /// How long to wait before starting again; nullopt: it was too often.
  [[nodiscard]] std::optional<duration> next(time_point now) {
    while (!restarts_.empty() && restarts_.front() + limits_.window < now) {
      restarts_.pop_front();
    }
    const auto recent = restarts_.size();
    if (recent >= limits_.restarts_max) {
      return std::nullopt;
    }
    restarts_.push_back(now);
    constexpr std::size_t doublings_max = 10;
    return recent == 0 ? duration(0) : limits_.backoff * (1 << std::min(recent - 1, doublings_max));
  }

  /// The newest `count` of them do not count any more.
  void take_back(std::size_t count) {
    restarts_.resize(restarts_.size() - std::min(count, restarts_.size()));
  }

  [[nodiscard]] std::size_t recent() const { return restarts_.size(); }

private:
  restart_limits limits_;
  std::deque<time_point> restarts_; // oldest first
};

} // namespace vdist::host
