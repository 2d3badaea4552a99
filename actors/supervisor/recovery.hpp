// actors/supervisor/recovery.hpp — the life of one replica's group of workers, as a class without actors, threads or IO.
// The supervisor actor feeds it events and carries out the actions that come back; tests explore it through every order
// of events.
//
//   RUNNING ─fault─▶ FENCE ─▶ QUIESCE ─▶ PLAN ─▶ REBUILD ─▶ RESTORE ─▶ RUNNING, one epoch higher
//   FENCE    the fence is being raised: every wait of the epoch before ends
//   QUIESCE  survivors still have to leave that epoch; they keep process, memory and KV
//   PLAN     somebody's end is not certain yet, or its successor rests: who is replaced, and when
//   REBUILD  successors map their weights; they may begin with it while survivors still leave
//   RESTORE  everybody is idle and is being connected
//   STARTING is REBUILD without an epoch before it. A fault in any state starts over at a higher epoch.
//   any state ──more than max_restarts within the window──▶ FAILED
//
// A slot is one worker's place; a restart keeps the slot and raises its incarnation. A slot is
//   loading   spawned, mapping or reading its weights         → idle on `loaded`
//   idle      loaded, its thread waits for an epoch
//   running   its thread works in an epoch                    → quiescing when the fence is raised
//   quiescing told to stop, or adopted                        → idle on `quiesced`
//   retiring  left its epoch, told to end by order     → loading (next incarnation) on `halted`, `gone`
//   dying     its actor is dead, its thread may not be        → resting or loading (next incarnation) on `halted`, `gone`
//   resting   nobody is there until the back-off is over      → loading (next incarnation)
//   absent    nobody is there, and nobody comes: before the start, or given up
//
// R-1 The fence is raised before anything else happens after a fault, so nobody waits for a dead peer.
// R-2 A replacement is spawned only after `halted` or `gone` of the incarnation before it: at most one acts in an epoch.
// R-3 An epoch begins only when every slot is idle; its number was never used before.
// R-4 Every wait has a deadline: a slot that stays quiescing or loading too long is killed and becomes a fault; one that
//     stays dying too long, does not die of its kill, or has halted and does not go, fails the replica, because a thread of
//     this process cannot be ended from outside. next_deadline() is the earliest; while somebody is waited for there is one.
// R-5 Events of an earlier incarnation or epoch change nothing; nor do answers of one that was told to end.
// R-6 Failed steps and dead executors together are bounded like the deaths of one slot: what fails always does not go on
//     for ever. Waits for a slow peer are not counted.
// R-7 Giving up ends every worker and spawns nobody: no memory is held and nothing computes for a replica that is lost.
// R-8 Replacements of one slot within the window pause 0, b, 2b, 4b … after the death (restart_backoff, at most
//     restart_backoff_max): the first is never delayed.
// R-9 A successor of the supervisor, or of its process, goes on from what it finds: it raises the fence above every epoch
//     used, then asks the living to leave, as after any other fault. `quiesced` proves that they live and have loaded.
// R-10 A planned replacement goes the way of a recovery, but its worker is asked to leave the epoch like all others and is
//     told to end only when it has; one that does not end in time is killed. It is no fault: neither counted nor
//     delayed. It begins only while everybody works, so it never adds to a recovery; a worker that dies before it is
//     told to end has died.
// R-11 A death over steps is that of a slot in an epoch or leaving one, unless it was wished for (expect_end); so is an
//     executor that dies in a running epoch, but no failed step. The next begin says once that there was one, and whose.
//     When a request was found to be what so many begins of that kind had in common, the deaths and faults of the newest
//     of them that are not judged are taken out of every count: a poisonous request costs no worker its
//     restarts. But more than culprits_in_a_row_max such findings without a committed step in between fail the replica:
//     then it is the workers.
// R-12 Who has halted but not gone is a late writer: it begins nothing any more, but its device may still write what it had
//     begun. Its successor comes meanwhile. A begin says whether there are late writers; of those it told of, writers_gone
//     says once, in that epoch, that the last has gone. If another epoch comes first, its begin says what is true then. None
//     begins more than late_epochs_max above the one that a late writer worked in: what it writes to is not used again.
// R-13 Such a death or fault counts against max_restarts only once nobody is suspected of it any more: all whom it struck
//     have got tokens since (suspicion_over), so the worker is to blame. If one of them ended otherwise, as by a cancel,
//     nobody will ever know, and it does not count. Until then it is provisional, so a replica is not given up one death
//     before the culprit is found. But no more than poison_strikes * culprits_in_a_row_max are, of one slot within the
//     window: what comes above counts, so that what dies always is given up. With max_restarts below poison_strikes none
//     is provisional: then the worker is to blame first. That something counts now gives nobody up who works again; the
//     next death does.
// Cost: O(slots) per event. Not thread-safe.
#pragma once

#include "actors/supervisor/recovery_trace.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <optional>
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
  duration retire_deadline = std::chrono::seconds(2); // to end by order
  std::int32_t max_restarts = 5;                      // of one slot within restart_window
  duration restart_window = std::chrono::seconds(60);
  duration restart_backoff{}; // R-8; 0: no pauses
  duration restart_backoff_max = std::chrono::seconds(5);
  std::int32_t culprits_in_a_row_max = 3; // requests
  std::uint32_t late_epochs_max = 7;
  std::int32_t poison_strikes = 0;        // deaths until a culprit is found; 0: none ever is
};

/// R-4, for workers whose steps may take `step_deadline` each. One that is asked to leave may have two of them on its device and
/// ends what it has begun (L-16 of worker_thread.hpp): it is not killed for that. Who hangs is found long before, by whoever looks
/// at its device or its progress. Not below recovery_config's own.
[[nodiscard]] duration quiesce_deadline_of(duration step_deadline) noexcept;

enum class recovery_state : std::uint8_t {
  starting,
  running,
  fence,
  quiesce,
  plan,
  rebuild,
  restore,
  failed
};
enum class slot_state : std::uint8_t {
  loading,
  idle,
  running,
  quiescing,
  retiring,
  dying,
  resting,
  absent
};

[[nodiscard]] std::string_view to_string(recovery_state state) noexcept;
[[nodiscard]] std::string_view to_string(slot_state state) noexcept;

/// How a slot is found when a group is taken over.
struct slot_start {
  enum class kind : std::uint8_t {
    absent,  // no incarnation acts: `worker` is the last one there was, 0 if none
    dying,   // `worker` was told to end; its `gone` is still to come
    loading, // `worker` lives and may still load: it may take load_deadline to answer
    living,  // `worker` lives and had loaded: it has quiesce_deadline to answer
  };
  kind what = kind::absent;
  incarnation worker;
  /// Before it, or itself if it is absent: halted, and their `gone` is still to come.
  std::vector<incarnation> late;
};

/// A group as its supervisor finds it. Default: a group that never was.
struct group_state {
  epoch first = epoch(1);        // above every epoch that was ever used
  std::vector<slot_start> slots; // one per slot, or none: all absent
};

/// What the supervisor has to do, in this order.
struct action {
  enum class kind : std::uint8_t {
    spawn,        // slot, incarnation: create the worker actor and let it load
    adopt,        // slot, incarnation: create the actor of a worker that lives already
    kill,         // slot: end the actor; its `died` event follows
    raise_fence,  // now: survivors' waits end with `aborted`
    prepare,      // slot: stop working, answer `quiesced`
    retire,       // slot: end by order; `gone` follows, or a kill
    begin,        // now: connect all workers, rewind the scheduler, go on
    writers_gone, // now: nobody of whom the begin of this epoch told writes any more
    give_up, // reason, and the slot that it is about or -1: the replica cannot be kept alive; kills of its workers follow
  };
  kind what;
  std::int32_t slot = -1;
  incarnation worker;
  epoch now;
  std::string reason;
  std::optional<std::int32_t>
      struck_by;                 // of begin: the slot of a death over steps, -1: no worker's
  bool has_late_writers = false; // of begin
};

class recovery {
public:
  explicit recovery(const recovery_config& config, recovery_observer observer = {});

  /// Spawns every absent slot and takes over the others. Call once, first.
  void start(time_point now, const group_state& from = {});
  /// The slot's worker has loaded and waits.
  void loaded(std::int32_t slot, incarnation worker, time_point now);
  /// The slot's actor died, for whatever reason, or its stage died with it, or its process is known
  /// to be dying: it will never answer again.
  void died(std::int32_t slot, incarnation worker, time_point now);
  /// The dead incarnation begins nothing any more, but what it had begun may still write until it has gone. Only a
  /// process can be known to be so. Implies died().
  void halted(std::int32_t slot, incarnation worker, time_point now);
  /// The dead incarnation's thread has ended: nothing of it touches memory any more. Implies
  /// died() and halted().
  void gone(std::int32_t slot, incarnation worker, time_point now);
  /// The slot's thread left the epochs before `at`.
  void quiesced(std::int32_t slot, incarnation worker, epoch at, time_point now);
  /// Everybody is alive, but a step cannot be finished (digests differ, the step's deadline
  /// passed): run it again.
  void step_failed(epoch at, time_point now);
  /// A worker waited in vain for a slow peer: run the step again. Slow is not broken, so this is
  /// not counted.
  void peer_late(epoch at, time_point now);
  /// The workers of these slots are to be replaced, all in one recovery. By slot; incarnation 0: it stays. False:
  /// nothing happens, because the group does not run, or one of them is not the slot's worker any more.
  bool replace(const std::vector<incarnation>& wanted, time_point now);
  /// The executor died; its successor begins with the next epoch.
  void executor_died(time_point now);
  /// This incarnation is being ended on purpose: its death is nobody's fault, though counted.
  void expect_end(std::int32_t slot, incarnation worker);
  /// A request was failed, over which the last `strikes` deaths came. `has_progressed`: steps
  /// were committed since the finding before this one.
  void culprit_found(std::int32_t strikes, bool has_progressed, time_point now);
  /// Nobody is suspected any more of what the begins up to that of `at` told of. `are_innocent`: all whom it struck
  /// got tokens since, but for culprits that were found.
  void suspicion_over(epoch at, bool are_innocent);
  /// The group cannot go on for a reason that a restart does not change; -1: of no slot of its own.
  void abandon(std::string reason, time_point now, std::int32_t culprit = -1);

  /// Deadlines and back-offs that are due. Call at next_deadline() or later; calls
  /// before it change nothing.
  void tick(time_point now);
  [[nodiscard]] std::optional<time_point> next_deadline() const;

  /// The actions of the last events, in order; the caller takes them away.
  [[nodiscard]] std::vector<action> take_actions();
  /// The caller has carried this action out: ends FENCE and RESTORE, and is marked in the trace.
  void done(const action& carried_out, time_point now);

  [[nodiscard]] recovery_state state() const;

  [[nodiscard]] const recovery_trace& trace() const { return trace_; }

  [[nodiscard]] epoch current_epoch() const { return epoch_; }

  [[nodiscard]] slot_state slot(std::int32_t slot) const {
    return slots_[static_cast<std::size_t>(slot)].state;
  }

  [[nodiscard]] incarnation worker(std::int32_t slot) const {
    return slots_[static_cast<std::size_t>(slot)].worker;
  }

  /// Whether this incarnation is the slot's and its death is not known.
  [[nodiscard]] bool is_alive(std::int32_t slot, incarnation worker) const;

  /// Replacements after faults; planned ones are not among them.
  [[nodiscard]] std::uint64_t restarts() const { return restarts_; }

  /// Everything that the future of this machine depends on, as bytes: the group's part and a slot's.
  /// Equal ones behave alike while no fault leaves the window. For explorations.
  [[nodiscard]] std::string fingerprint() const;
  [[nodiscard]] std::string fingerprint(std::int32_t slot, time_point now) const;

private:
  enum class phase : std::uint8_t { starting, working, mending, failed };

  /// Whose fault it was.
  enum class blame : std::uint8_t {
    own,      // of who died: it counts
    untold,   // over a step; the next begin tells
    open,     // somebody is suspected
    unproven, // nobody is any more, but not all were acquitted
  };

  struct fault {
    time_point at;
    blame whose = blame::own;
    epoch told_in{0}; // the begin that told; 0: none did
  };

  ///
  struct late_writer {
    std::int32_t slot = 0;
    incarnation worker;
    epoch worked_in;
    time_point due; // of its `gone`
  };

  struct slot_record {
    slot_state state = slot_state::absent;
    incarnation worker;
    epoch worked_in;         // the last one; 0: nobody knows; before its first: when it was spawned
    time_point due;          // of what the slot waits for: R-4, or the end of its rest
    bool kill_sent = false;  // its death must follow
    bool is_leaving = false; // it is to end by order, or has
    bool is_wanted = false;  // its death was wished for
    std::vector<fault> deaths; // within the window
  };

  void take_over(std::int32_t slot, const slot_start& found, time_point now);
  void spawn(std::int32_t slot);
  void replace_dead(std::int32_t slot, time_point now);
  void rest_or_spawn(std::int32_t slot, time_point now);
  void wait_until(std::int32_t slot, slot_state state, time_point due);
  void push(action::kind what, std::int32_t slot);
  void note(recovery_point point, std::int32_t slot, time_point now);
  void fence(std::int32_t culprit, time_point now);
  void begin_when_all_idle();
  void fail(std::string reason, std::int32_t culprit = -1);
  void note_step_death(std::int32_t slot);
  template <class Do>
  void for_all_faults(const Do& act);
  [[nodiscard]] std::int32_t provisional_max() const;
  void count_control_fault(const fault& counted, const char* what);
  void check_deadline(std::int32_t slot, time_point now);
  void check_late_writers(time_point now);
  [[nodiscard]] bool waits_for_late_writers() const;
  [[nodiscard]] std::uint32_t epochs_since(epoch past) const;
  slot_record* answering(std::int32_t slot, incarnation worker, slot_state expected);
  [[nodiscard]] bool has_slot(slot_state state) const;
  [[nodiscard]] bool is_over_intensity(std::vector<fault>& faults, time_point now) const;
  static void append_faults(std::string& bytes, const std::vector<fault>& faults);
  [[nodiscard]] duration pause_after(std::size_t deaths) const;

  recovery_config config_;
  phase phase_ = phase::starting;
  epoch epoch_ = epoch(1);      // the epoch that runs, or that is being prepared
  bool is_carried_out_ = false; // the last fence or begin
  std::vector<slot_record> slots_;
  std::vector<late_writer> late_;
  bool is_told_of_late_ = false;          // by the begin of the epoch that runs
  std::vector<fault> control_faults_;     // within the window: failed steps and dead executors
  std::optional<std::int32_t> struck_by_; // such a death since the last begin: whose
  std::int32_t culprits_ = 0;             // found in a row
  std::vector<action> actions_;
  std::uint64_t restarts_ = 0;
  recovery_trace trace_;
};

} // namespace vdist::supervisor
