// actors/worker/worker.hpp — the actor of one rank: identity, mailbox, monitor, kill and restart of a worker lane.
//
//   loading ──loaded──▶ idle ──begin──▶ running ──prepare──▶ quiescing ──quiesced──▶ idle
//      any state ──failed or killed──▶ dead (the lane is stopped; `halted` and `gone` follow, or `gone` alone)
//
// W-1 The actor never blocks and never touches model memory; its lane does.
// W-2 When the actor ends, for whatever reason, the lane is told to stop; `halted` and `gone` go to the supervisor, not
//     through this actor, because nobody reads the mailbox of the dead. A worker whose lane could not be made says it itself,
//     unless its process lives already.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/worker/worker_lane.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace vdist::actors {

struct worker_config {
  std::int32_t slot = 0;
  incarnation worker;
  bool is_living = false;      // its process lives already
  stage_actor stage;           // gets every event but those
  supervisor_actor supervisor; // gets `halted` and `gone`
  worker_lane_factory make_lane;
};

struct worker_state {
  worker_state() = default;
  ~worker_state();
  worker_state(const worker_state&) = delete;
  worker_state& operator=(const worker_state&) = delete;

  worker_config config;
  std::shared_ptr<worker_lane> lane;
  const char* name = "worker";
};

using worker_pointer = worker_actor::stateful_pointer<worker_state>;

/// Behaviour of a worker actor; spawn it with sys.spawn(make_worker, config).
worker_actor::behavior_type make_worker(worker_pointer self, worker_config config);

} // namespace vdist::actors
