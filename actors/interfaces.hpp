// actors/interfaces.hpp — every typed actor interface and every message between actors: the system
// on one page.
//
//                    front door (engine.hpp, vdist-run)
//                         │ submit, cancel
//                     ┌───▼────┐ add, cancel      ┌───────────┐  inbox   ┌────────────────────────┐
//                     │ router ├─────────────────▶│ scheduler ├─────────▶│ step lane (one thread) │
//                     └───▲────┘                  └───────────┘          │  plans, commits        │
//                         └────────────── step_tokens ────────────────── └───▲────────────────────┘
//                                                     begin, fence  ┌────────┴─┐        ║ frames
//                   ┌────────────┐ ────────────────────────────────▶│ executor │        ║
//                   │ supervisor │                                  └──────────┘        ║
//                   └─────┬──▲───┘ spawn, prepare, begin, kill  ┌───────┐           ┌───╨─────────┐
//                         └──┴─────────────────────────────────▶│ stage ├──────────▶│ worker      │
//                              worker_event                     └───────┘           │ (a lane)    │
//                                                                                   └─────────────┘
// Per cluster one router, and one guardian above it, schedulers and supervisors; per replica one supervisor, scheduler and
// executor; per pipeline stage one stage; per rank one worker. Actors decide, lanes carry the step: plans and results never
// pass a mailbox ("Messages, and the step path" in ARCHITECTURE.md). All actors are event-based and never block.
//
// A-1 Every message names the epoch or incarnation that it belongs to, where one exists; older ones are dropped.
// A-2 Every accepted request gets exactly one terminal token_event (P-7).
// Messages are plain structs passed by pointer inside the process; msgpack is the only codec (protocol/step_codec.hpp).
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/request.hpp"
#include "runtime/protocol/worker.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vdist::actors {

class token_sink;    // actors/router/token_sink.hpp: where a request's tokens go
struct epoch_wiring; // actors/gateway/epoch_wiring.hpp: the channels of one epoch

using token_events = std::vector<protocol::token_event>;

// ---- to the router
// ----------------------------------------------------------------------------------------------

/// Accept this request and stream its tokens to the sink. The reply says whether it was accepted;
/// from then on the sink gets exactly one terminal event.
struct submit {
  std::shared_ptr<const protocol::request> request; // id and arrival are set by the router
  std::shared_ptr<token_sink> sink;
  std::int32_t followers =
      0; // of the same client that come next: all find room, or none is accepted
  std::vector<std::int32_t> replicas = {}; // that may run it; empty: all. When they end, others do
};

struct submit_reply {
  request_id id;
  errc status = errc::ok;
  std::string message;
};

/// Ends a request early; its terminal event (cancelled) follows. Unknown ids are ignored.
struct cancel {
  request_id id;
};

/// The tokens that one step committed; sent once per step, after the next plan is out.
struct step_tokens {
  std::int32_t replica = 0;
  std::shared_ptr<const token_events> events;
};

/// What a replica can do from now on; from its supervisor, `restarted` and `ended` from its step lane.
enum class replica_state : std::uint8_t {
  loading,
  running,
  recovering, // requests stay where they are
  restarted,  // its scheduler started anew: the router hands its requests over again
  failed,     // cannot be kept alive: the router gives it nothing more
  ended,      // failed, and its step lane commits nothing more: the router moves its requests
};

struct replica_changed {
  std::int32_t replica = 0;
  replica_state state = replica_state::loading;
  std::string reason;
};

struct get_router_status {};

/// Accept no more requests, for ever: submit is answered with errc::closed. Answered with the status.
struct drain {};

/// Give this replica nothing new as long as another one is alive, or again; what it has goes on. Answered with the status.
struct drain_replica {
  std::int32_t replica = 0;
  bool is_on = true;
};

struct router_status {
  std::uint64_t active = 0; // requests without a terminal event
  std::uint64_t accepted = 0;
  std::uint64_t finished = 0;
  std::vector<std::uint64_t> active_by_replica;
  std::vector<bool> draining_by_replica;
  bool is_draining = false;
};

using router_actor = caf::typed_actor<caf::replies_to<submit>::with<submit_reply>,
                                      caf::reacts_to<cancel>,
                                      caf::reacts_to<step_tokens>,
                                      caf::reacts_to<replica_changed>,
                                      caf::replies_to<get_router_status>::with<router_status>,
                                      caf::replies_to<drain>::with<router_status>,
                                      caf::replies_to<drain_replica>::with<router_status>>;

// ---- to a replica's scheduler
// -----------------------------------------------------------------------------------

/// Run this request. A refusal comes back as a terminal event (failed).
struct add_request {
  std::shared_ptr<const protocol::request> request;
};

using scheduler_actor = caf::typed_actor<caf::reacts_to<add_request>, caf::reacts_to<cancel>>;

// ---- to a replica's executor
// ------------------------------------------------------------------------------------

/// Drop the steps in flight and wait for begin_epoch.
struct fence_epoch {
  epoch now;
};

/// How the steps in flight of an epoch ended when they were not just fenced.
struct step_death {
  std::int32_t slot = -1; // of the worker that died over them; -1: the lane ended
  std::string cause;
};

/// Rewind the scheduler to what is committed and go on over these channels.
struct begin_epoch {
  epoch now;
  std::shared_ptr<epoch_wiring> wiring;
  std::optional<step_death> death; // since the last begin; the requests of those steps are struck
  bool has_late_writers = false;   // dead workers' devices may still write; writers_gone follows
};

/// Nobody writes any more of whom the begin_epoch of this epoch said so.
struct writers_gone {
  epoch now;
};

using executor_actor = caf::typed_actor<caf::reacts_to<fence_epoch>,
                                        caf::reacts_to<begin_epoch>,
                                        caf::reacts_to<writers_gone>>;

// ---- to a stage and its workers
// ---------------------------------------------------------------------------------

/// Create the worker of this slot; `loaded` or `died` follows. One whose process lives already is
/// adopted: it is not told to load; prepare_epoch follows, and its answer proves that it has loaded.
struct spawn_worker {
  std::int32_t slot = 0; // rank within the replica
  incarnation worker;
  bool is_living = false;
};

/// End the worker actor of this slot.
struct kill_worker {
  std::int32_t slot = 0;
  incarnation worker;
};

/// Tell the worker of this slot, which stands still, to end; its actor stays until a successor comes.
struct retire_worker {
  std::int32_t slot = 0;
  incarnation worker;
};

/// Leave the current epoch; `quiesced` follows when the worker's lane stands still.
struct prepare_epoch {
  std::int32_t slot = 0;
  incarnation worker;
  epoch now;
};

/// All workers: open your ends of this epoch's channels and answer plans.
struct enter_epoch {
  epoch now;
};

/// What happened to a worker; worker → stage → supervisor.
using protocol::worker_event;

using stage_actor = caf::typed_actor<caf::reacts_to<spawn_worker>,
                                     caf::reacts_to<kill_worker>,
                                     caf::reacts_to<retire_worker>,
                                     caf::reacts_to<prepare_epoch>,
                                     caf::reacts_to<enter_epoch>,
                                     caf::reacts_to<worker_event>>;

/// Map or read the weights.
struct load_weights {};

using worker_actor = caf::typed_actor<caf::reacts_to<load_weights>,
                                      caf::reacts_to<retire_worker>,
                                      caf::reacts_to<prepare_epoch>,
                                      caf::reacts_to<enter_epoch>,
                                      caf::reacts_to<worker_event>>;

// ---- to a replica's supervisor
// ----------------------------------------------------------------------------------

/// The step lane could not finish a step although nobody died (late or contradicting results): do
/// it again.
struct step_failed {
  epoch now;
  std::string text;
};

/// From the step lane, before its step_failed: these ranks of a stage computed something else than the others, or none of
/// them agrees with enough others (executor/digest_vote.hpp).
struct ranks_disagree {
  std::vector<std::int32_t> slots;
  bool is_certain = false;
  std::string text;
};

/// From the step lane, before its first plan of an epoch: a request was failed because steps died of it
/// so often. `has_progressed`: steps were committed since the one before it was.
struct culprit_found {
  std::int32_t strikes = 0;
  bool has_progressed = false;
};

/// From the step lane: nobody is suspected any more of what the begins up to that of `now` told of. `are_innocent`: all
/// whom it struck got tokens since, but for culprits that were found.
struct suspicion_over {
  epoch now;
  bool are_innocent = true;
};

struct start_replica {};

/// From the supervisor to itself.
struct check_deadlines {
  std::uint64_t timer = 0; // the newest one sets the next
};

struct get_replica_status {};

struct replica_status {
  std::int32_t replica = 0;
  replica_state state = replica_state::loading;
  epoch now;
  std::uint64_t restarts = 0;
  std::vector<std::uint32_t> incarnations; // by slot
  std::vector<std::string> worker_states;  // by slot, for people
};

/// End the worker actor of this slot, as an operator wishes; a successor follows as after any death.
struct end_worker {
  std::int32_t slot = 0;
};

/// Replace these workers, as an operator wishes, in one recovery that counts as no fault. By slot; 0: it stays. Nothing
/// happens while the replica does not run, or if one of them has been replaced already: ask again.
struct replace_workers {
  std::vector<std::uint32_t> incarnations;
};

using supervisor_actor = caf::typed_actor<caf::reacts_to<start_replica>,
                                          caf::reacts_to<worker_event>,
                                          caf::reacts_to<step_failed>,
                                          caf::reacts_to<ranks_disagree>,
                                          caf::reacts_to<culprit_found>,
                                          caf::reacts_to<suspicion_over>,
                                          caf::reacts_to<check_deadlines>,
                                          caf::replies_to<get_replica_status>::with<replica_status>,
                                          caf::reacts_to<end_worker>,
                                          caf::reacts_to<replace_workers>>;

// ---- to the guardian
// ----------------------------------------------------------------------------------------------

/// Spawns all children, in their order.
struct start_children {};

/// From the guardian to itself, when a back-off is over.
struct restart_child {
  std::size_t child = 0;
};

struct get_guardian_status {};

struct guardian_status {
  std::vector<std::uint64_t> restarts; // by child, since the start
};

using guardian_actor =
    caf::typed_actor<caf::reacts_to<start_children>,
                     caf::reacts_to<restart_child>,
                     caf::replies_to<get_guardian_status>::with<guardian_status>>;

} // namespace vdist::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::submit)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::submit_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::cancel)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::step_tokens)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::replica_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::get_router_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::router_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::drain)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::drain_replica)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::add_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::fence_epoch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::begin_epoch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::writers_gone)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::spawn_worker)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::kill_worker)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::retire_worker)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::prepare_epoch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::enter_epoch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::load_weights)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::protocol::worker_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::step_failed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::ranks_disagree)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::culprit_found)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::suspicion_over)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::start_replica)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::check_deadlines)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::get_replica_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::replica_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::end_worker)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::replace_workers)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::start_children)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::restart_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::get_guardian_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::actors::guardian_status)
