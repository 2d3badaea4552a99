// actors/worker/device_evidence.hpp — whether a device waits for another rank right now, from what it says while it does
// (P-5 of kernels/collective/lane_protocol.hpp): a record that has just changed is a wait, one that stays is none.
// Not thread-safe. Cost: three comparisons per look.
#pragma once

#include "model/exec/step_runner.hpp"

#include "runtime/base/clock.hpp"

#include "kernels/collective/group_state.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace vdist::actors {

/// A wait that is going on.
struct peer_wait_seen {
  std::int32_t rank = -1; // global; waited for
  std::string_view operation;
  time_point since; // when it was first seen
};

class device_evidence {
public:
  /// Who waits says so every `beat`; two processes that take turns on a device pause for some more.
  static constexpr std::chrono::milliseconds silence{25};
  /// A record stands for as much waiting at least, but for a tenth of a millisecond of the first two.
  static constexpr std::chrono::nanoseconds beat{kernels::wait_beat_ns};

  /// What the device says at `now`; call often. The wait that began first, if it still goes on.
  std::optional<peer_wait_seen> look(const exec::device_waits& said, time_point now) {
    std::optional<peer_wait_seen> oldest;
    for (std::size_t i = 0; i < said.size(); ++i) {
      auto& known = known_.at(i);
      const auto& wait = said.at(i);
      if (wait.beat != known.beat) {
        known.since = is_heard(known, now) ? known.since : now;
        known.heard = now;
        known.beat = wait.beat;
        ++records_;
      }
      if (is_heard(known, now) && (!oldest || known.since < oldest->since)) {
        oldest = {.rank = wait.rank, .operation = wait.operation, .since = known.since};
      }
    }
    return oldest;
  }

  /// How many have come since the last call, of all sources.
  std::uint32_t take_records() { return std::exchange(records_, 0); }

private:
  struct source {
    std::uint64_t beat = 0;
    time_point since{}; // the first record of the wait
    time_point heard{}; // the last one
  };

  static bool is_heard(const source& known, time_point now) {
    return known.heard != time_point{} && now - known.heard < silence;
  }

  std::array<source, std::tuple_size_v<exec::device_waits>> known_;
  std::uint32_t records_ = 0;
};

} // namespace vdist::actors
