// actors/executor/executor.hpp — the actor that owns a replica's step lane: identity, monitor, kill and restart of it.
// X-5 When the actor ends, for whatever reason, its lane is stopped; a successor's lane waits for that.
#pragma once

#include "actors/executor/step_lane.hpp"
#include "actors/interfaces.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace vdist::actors {

struct executor_state {
  executor_state() = default;
  ~executor_state();
  executor_state(const executor_state&) = delete;
  executor_state& operator=(const executor_state&) = delete;

  std::shared_ptr<step_lane> lane; // shared with the thread that runs it
  step_inbox* inbox = nullptr;
  const char* name = "executor";
};

using executor_pointer = executor_actor::stateful_pointer<executor_state>;

/// The lane must be running already; `inbox` is its inbox.
executor_actor::behavior_type
make_executor(executor_pointer self, std::shared_ptr<step_lane> lane, step_inbox* inbox);

} // namespace vdist::actors
