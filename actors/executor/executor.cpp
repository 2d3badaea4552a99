#include "actors/executor/executor.hpp"

#include <utility>

namespace vdist::actors {

executor_state::~executor_state() {
  if (lane) {
    lane->stop();
  }
}

executor_actor::behavior_type
make_executor(executor_pointer self, std::shared_ptr<step_lane> lane, step_inbox* inbox) {
  self->state.lane = std::move(lane);
  self->state.inbox = inbox;
  return {
      // The lane's waits end by the fence word itself; the message is for executors on other hosts.
      [](const fence_epoch&) {},
      [self](const begin_epoch& message) { self->state.inbox->begin(message); },
      [self](const writers_gone& message) { self->state.inbox->lift(message.now); },
  };
}

} // namespace vdist::actors
