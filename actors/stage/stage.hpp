// actors/stage/stage.hpp — the parent of one pipeline stage's workers: spawns, monitors and kills them, and hands the
// supervisor's decisions down and their events up.
//
// T-1 A worker is known by (slot, incarnation); events of an incarnation that was replaced still go up, the recovery
//     machine drops them.
// T-2 The death of a worker actor, for whatever reason, becomes exactly one `died`.
// T-3 When the stage ends, its workers are killed. Not by links: the kill of a linked worker would end the stage too.
// T-4 Failpoint: stage.event, before a worker's event goes up.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/worker/worker_lane.hpp"

#include "runtime/base/failpoint.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <map>

namespace vdist::actors {

struct stage_config {
  std::int32_t stage = 0;
  supervisor_actor supervisor;
  worker_lane_factory make_lane;
  failpoints* points = nullptr;                               // may be null
  std::int32_t replica = 0;                                   // for the points
  std::function<void(const caf::strong_actor_ptr&)> on_spawn; // of a worker; may be empty
};

struct stage_state {
  struct child {
    worker_actor actor;
    incarnation worker;
  };

  stage_state() = default;
  ~stage_state(); // T-3
  stage_state(const stage_state&) = delete;
  stage_state& operator=(const stage_state&) = delete;

  stage_config config;
  std::map<std::int32_t, child> workers; // by slot; the newest incarnation
  const char* name = "stage";
};

using stage_pointer = stage_actor::stateful_pointer<stage_state>;

stage_actor::behavior_type make_stage(stage_pointer self, stage_config config);

} // namespace vdist::actors
