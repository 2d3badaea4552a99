// model/hub/stall_watch.hpp — when a transfer counts as stuck: when it gained less than it must
// within a time. Its deadline moves forward with its progress, so that a long download has none.
#pragma once

#include <chrono>
#include <cstdint>

namespace vdist::hub {

class stall_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `bytes`: that must be gained within `time`; at least 1.
  stall_watch(std::chrono::milliseconds time, std::int64_t bytes, time_point now)
      : time_(time), bytes_(bytes), since_(now) {}

  /// `bytes`: that were transferred so far. Whether it is stuck now.
  [[nodiscard]] bool is_stuck(std::int64_t bytes, time_point now) {
    if (bytes - mark_ >= bytes_) {
      mark_ = bytes;
      since_ = now;
    }
    return now - since_ >= time_;
  }

private:
  std::chrono::milliseconds time_;
  std::int64_t bytes_;
  std::int64_t mark_ = 0;
  time_point since_;
};

} // namespace vdist::hub
