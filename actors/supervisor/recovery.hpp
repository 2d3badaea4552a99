// actors/supervisor/recovery.hpp — the life of one replica's group of workers, as a class without actors, threads or IO.
// The supervisor actor feeds it events and carries out the actions that come back; tests run it through thousands of
// random orders of events.
//
//   STARTING ──all idle──▶ RUNNING(e) ──fault──▶ QUIESCE(e+1) ──all idle──▶ RUNNING(e+1)
//                              ▲                    │  ▲  │
//                              └────────────────────┘  └──┘ a fault in any state starts over at a higher epoch
//   any state ──more than max_restarts within the window──▶ FAILED
//
// A slot is one worker's place; a restart keeps the slot and raises its incarnation. A slot is
//   loading   spawned, mapping or reading its weights         → idle on `loaded`
//   idle      loaded, its thread waits for an epoch
//   running   its thread works in an epoch                    → quiescing when the fence is raised
//   quiescing told to stop                                    → idle on `quiesced`
//   dying     its actor is dead, its thread may not be        → loading (next incarnation) on `gone`
//
// R-1 The fence is raised before anything else happens after a fault, so nobody waits for a dead peer.
// R-2 A replacement is spawned only after `gone` of the incarnation before it: at most one acts in an epoch.
// R-3 An epoch begins only when every slot is idle; its number was never used before.
// R-4 Every wait has a deadline: a slot that stays quiescing or loading too long is killed and becomes a fault; one that
//     stays dying too long fails the replica, because a thread of this process cannot be ended from outside.
// R-5 Events of an earlier incarnation or epoch change nothing.
// R-6 Failed steps and dead executors together are bounded like the deaths of one slot: what fails always does not go on
//     for ever. Waits for a slow peer are not counted.
// Cost: O(slots) per event. Not thread-safe.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::supervisor {

struct recovery_config {
  std::int32_t slots = 1;
  duration quiesce_deadline = std::chrono::seconds(10);
  duration load_deadline = std::chrono::minutes(30);
  duration gone_deadline = std::chrono::seconds(30);
  std::int32_t max_restarts = 5; // of one slot within restart_window
  duration restart_window = std::chrono::seconds(60);
};

enum class recovery_state : std::uint8_t { starting, running, quiesce, failed };
enum class slot_state : std::uint8_t { loading, idle, running, quiescing, dying };

[[nodiscard]] std::string_view to_string(slot_state state) noexcept;

/// What the supervisor has to do, in this order.
struct action {
  enum class kind : std::uint8_t {
    spawn,       // slot, incarnation: create the worker actor and let it load
    kill,        // slot: end the actor; its `died` event follows
    raise_fence, // now: survivors' waits end with `aborted`
    prepare,     // slot: stop working, answer `quiesced`
    begin,       // now: connect all workers, rewind the scheduler, go on
    give_up,     // reason: the replica cannot be kept alive
  };
  kind what;
  std::int32_t slot = -1;
  incarnation worker;
  epoch now;
  std::string reason;
};

class recovery {
public:
  explicit recovery(const recovery_config& config);

  /// Spawns every slot. Call once, first.
  void start(time_point now);
  /// The slot's worker has loaded and waits.
  void loaded(std::int32_t slot, incarnation worker);
  /// The slot's actor died, for whatever reason, or its stage died with it.
  void died(std::int32_t slot, incarnation worker, time_point now);
  /// The dead incarnation's thread has ended: nothing of it touches memory any more. Implies
  /// died().
  void gone(std::int32_t slot, incarnation worker, time_point now);
  /// The slot's thread left the epoch before `at`.
  void quiesced(std::int32_t slot, incarnation worker, epoch at);
  /// Everybody is alive, but a step cannot be finished (digests differ, the step's deadline
  /// passed): run it again.
  void step_failed(epoch at, time_point now);
  /// A worker waited in vain for a slow peer: run the step again. Slow is not broken, so this is
  /// not counted.
  void peer_late(epoch at, time_point now);
  /// The executor died; its successor begins with the next epoch.
  void executor_died(time_point now);

  /// A worker cannot be started for a reason that a restart does not change.
  void abandon(std::string reason) { fail(std::move(reason)); }

  /// Call at least every 100 ms: deadlines.
  void tick(time_point now);

  /// The actions of the last events, in order; the caller takes them away.
  [[nodiscard]] std::vector<action> take_actions();

  [[nodiscard]] recovery_state state() const { return state_; }

  [[nodiscard]] epoch current_epoch() const { return epoch_; }

  [[nodiscard]] slot_state slot(std::int32_t slot) const {
    return slots_[static_cast<std::size_t>(slot)].state;
  }

  [[nodiscard]] incarnation worker(std::int32_t slot) const {
    return slots_[static_cast<std::size_t>(slot)].worker;
  }

  [[nodiscard]] std::uint64_t restarts() const { return restarts_; }

private:
  struct slot_record {
    slot_state state = slot_state::loading;
    incarnation worker;
    time_point since;
    bool is_dead = false; // the actor is gone, the thread may not be
    bool kill_sent = false;
    std::vector<time_point> deaths; // within the window
  };

  void spawn(std::int32_t slot, time_point now);
  void fence(time_point now);
  void begin_when_all_idle();
  void fail(std::string reason);
  bool is_current(std::int32_t slot, incarnation worker) const;
  bool is_over_intensity(std::vector<time_point>& faults, time_point now) const;
  void count_control_fault(time_point now, const char* what);
  void check_deadline(std::int32_t slot, time_point now);

  recovery_config config_;
  recovery_state state_ = recovery_state::starting;
  epoch epoch_; // the epoch that runs, or that is being prepared
  std::vector<slot_record> slots_;
  std::vector<time_point> control_faults_; // within the window: failed steps and dead executors
  std::vector<action> actions_;
  std::uint64_t restarts_ = 0;
};

} // namespace vdist::supervisor
