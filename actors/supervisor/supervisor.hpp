// actors/supervisor/supervisor.hpp — keeps one replica alive: spawns its stages and its executor, whose step lane has the
// scheduler; watches them, and carries out what the recovery machine (recovery.hpp) decides. One per data-parallel replica.
//
// V-1 The supervisor decides nothing itself: every event goes into `recovery`, every action comes out of it.
// V-2 An executor that dies is replaced at the next epoch; its scheduler's state is rebuilt by the router from the ledger.
//     The new lane asks for that (replica_changed: restarted) once the old one has published its last tokens. A stage
//     that dies takes its workers with it and is replaced first.
// V-3 Deadlines and back-offs are looked at when the machine's next one is due, and at least every
//     deadline_check_interval; on the actor clock, so tests move them by hand.
// V-4 A worker that reports `failed`, as that of a process does as soon as anybody knows that it is dying, counts as dead at
//     once: the fence is up before its actor has ended. Its successor waits for `halted` or `gone` all the same
//     . With an epoch the lane hears whether late writers are left, and of an epoch that began so, when the last has
//     gone.
// V-5 A supervisor that starts over an existing group (`group`) adopts living workers. One of them whose stage ends
//     before it took it over is handed to the next stage only to be ended, so that its `gone` comes.
// V-6 A supervisor that ends, for whatever reason, says so (on_end) before it ends stages and executor: their workers' lanes
//     then outlive them.
// V-8 A replica is given up once: the fence goes above its last epoch, its executor is ended, its lane too (end_lane); what it
//     had committed by then is all that there is of it, and then the router hears `ended` from there.
// V-9 replace_workers is the machine's to take or to refuse: who asks looks at the status, and asks again.
// V-10 The lane hears with a new epoch what ended the steps before it: the first cause that was heard of the death that
//     R-11 tells. The end of a worker that an operator wishes is none (`end_worker`).
// V-11 A device that must not be used any more (errc::device_lost), whoever says so and of whichever incarnation, and a slot
//     whose workers err too often (accusations.hpp) end the replica for that slot: the cluster goes on without the device.
// V-7 Failpoint: supervisor.event, before an event of a worker is heard.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/supervisor/accusations.hpp"
#include "actors/supervisor/recovery.hpp"
#include "actors/worker/worker_lane.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace vdist::actors {

inline constexpr std::chrono::milliseconds deadline_check_interval{100};
/// The actor clock and `environment.time` may differ by that much; bounds the rate of looks, too.
inline constexpr std::chrono::milliseconds deadline_check_pause{1};

/// What the supervisor needs from the system around it. Owned by the system object, which outlives
/// all actors.
struct replica_environment {
  std::int32_t replica = 0;
  std::vector<std::int32_t> stage_of_slot; // slot → pipeline stage
  supervisor::recovery_config recovery;
  worker_lane_factory make_lane;
  /// Spawns the executor actor (and the step lane that it owns).
  std::function<executor_actor(const supervisor_actor& supervisor)> spawn_executor;
  /// New channels for an epoch between these incarnations (by slot).
  std::function<result<std::shared_ptr<epoch_wiring>>(
      epoch now, const std::vector<std::uint32_t>& incarnations)>
      make_wiring;
  /// Ends every wait of the replica's lanes for lower epochs, at once.
  std::function<void(epoch now)> raise_fence;
  /// Told about every change of state, beside the router. May be empty; must not block.
  std::function<void(replica_state, const std::string& reason)> on_state;
  /// The replica is given up for that slot, or for none of them (-1): called before anybody else hears of it. Returns the
  /// reason that they are told, or ends the process (system/reduction.hpp). May be empty; must not block.
  std::function<std::string(std::int32_t slot, const std::string& reason)> on_given_up;
  /// The group that is found at the start, asked once then: every `halted` and `gone` of a slot that it calls
  /// dying, and every `gone` of a late writer, must come after the question. Empty: a group that never was.
  std::function<supervisor::group_state()> group;
  /// Every mark of the recovery trace as it is made. May be empty; must not block.
  supervisor::recovery_observer on_recovery;
  /// V-8: ends the step lane; once nothing of it can be committed any more, the router is told
  /// `ended`. May be empty; must not block.
  std::function<void(const std::string& reason)> end_lane;
  /// The supervisor ends (V-6). May be empty; must not block.
  std::function<void()> on_end;
  /// The worker of this slot is told to end by order: who follows it replaces nobody who died. May be empty.
  std::function<void(std::int32_t slot)> on_retire;
  /// Of every stage and worker actor; called on the threads of their parents. May be empty; must not block.
  std::function<void(const caf::strong_actor_ptr&)> on_spawn;
  failpoints* points = nullptr; // may be null
  const clock* time = nullptr;
};

struct supervisor_state {
  supervisor_state() = default;
  ~supervisor_state(); // ends the stages and the executor
  supervisor_state(const supervisor_state&) = delete;
  supervisor_state& operator=(const supervisor_state&) = delete;

  replica_environment environment;
  route<router_actor> router;
  std::optional<supervisor::recovery> machine;
  supervisor::accusations accused{0};
  std::vector<stage_actor> stages; // by stage; null until needed
  executor_actor executor;
  replica_state published = replica_state::loading;
  time_point fault_at{};
  std::vector<std::string> causes; // by slot, then of executors: heard since the last begin (V-10)
  std::optional<time_point> next_look; // when the newest timer is due
  std::uint64_t timer = 0;             // its number
  const char* name = "supervisor";
};

using supervisor_pointer = supervisor_actor::stateful_pointer<supervisor_state>;

supervisor_actor::behavior_type make_supervisor(supervisor_pointer self,
                                                replica_environment environment,
                                                route<router_actor> router);

} // namespace vdist::actors
