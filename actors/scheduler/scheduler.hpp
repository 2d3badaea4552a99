// actors/scheduler/scheduler.hpp — the mailbox of a replica's scheduler: requests and cancels go into the step lane's
// inbox, a refusal comes back to the router as a terminal event. The decisions are in runtime/sched, on the step thread.
//
// S-1 The actor holds nothing: what its mailbox lost with it, the router hands over again to its successor.
// S-2 Failpoint: scheduler.add, before a request goes into the inbox.
#pragma once

#include "actors/executor/step_inbox.hpp"
#include "actors/interfaces.hpp"

#include "runtime/base/failpoint.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>

namespace vdist::actors {

struct scheduler_actor_config {
  std::int32_t replica = 0;
  step_inbox* inbox = nullptr;
  failpoints* points = nullptr; // may be null
  /// Ends a request that the inbox refused: ledger first, then the router.
  std::function<void(request_id, const error&)> refuse;
};

struct scheduler_state {
  scheduler_actor_config config;
  const char* name = "scheduler";
};

using scheduler_pointer = scheduler_actor::stateful_pointer<scheduler_state>;

scheduler_actor::behavior_type make_scheduler(scheduler_pointer self,
                                              scheduler_actor_config config);

} // namespace vdist::actors
