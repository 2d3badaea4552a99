// actors/worker/command_reminder.hpp — what is to be said again to a worker process that does not answer (L-17 of
// worker_process.hpp), as a class without threads and channels.
// Not thread-safe.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/protocol/worker.hpp"

#include <optional>

namespace vdist::actors {

class command_reminder {
public:
  /// `pause`: silence before anything is said again, > 0.
  explicit command_reminder(duration pause) : pause_(pause) {}

  /// The worker was told so. Whatever was due before is not any more.
  void said(const protocol::worker_command& what, time_point now) {
    due_ = {.what = what, .pause = pause_, .at = now + pause_};
  }

  /// The worker said so.
  void heard(const protocol::worker_event& event) {
    if (due_ && is_answer(event, due_->what)) {
      due_.reset();
    }
  }

  /// What is to be said at `now`; nullopt: nothing. It counts as said.
  [[nodiscard]] std::optional<protocol::worker_command> take(time_point now) {
    if (!due_ || now < due_->at) {
      return std::nullopt;
    }
    const auto what = due_->what;
    if (what.what != command::load && what.what != command::prepare) { // nobody answers
      due_.reset();
      return protocol::worker_command{.what = command::nothing};
    }
    due_->pause *= 2;
    due_->at = now + due_->pause;
    return what;
  }

private:
  using command = protocol::worker_command::kind;
  using event = protocol::worker_event::kind;

  struct reminder {
    protocol::worker_command what;
    duration pause{};
    time_point at;
  };

  static bool is_answer(const protocol::worker_event& said, const protocol::worker_command& asked) {
    return said.what == event::failed || (said.what == event::loaded && asked.what == command::load)
           || (said.what == event::quiesced && asked.what == command::prepare
               && said.now.value == asked.now);
  }

  duration pause_;
  std::optional<reminder> due_;
};

} // namespace vdist::actors
