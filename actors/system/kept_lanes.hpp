// actors/system/kept_lanes.hpp — the worker lanes of a replica, which outlive the actors above them: when a supervisor dies,
// its stages and workers die too, and no worker loses its process, memory or KV for that.
//
//   worker actor ── held lane (one tenure) ──▶ the lane of its slot, kept here
//
// H-1 A tenure is the time of one supervisor, from its spawning to its end. An actor that ends in its supervisor's tenure
//     stops its lane, as L-1 says; one that ends after it leaves the lane alone, and nothing that it still wants is done.
// H-2 A lane is made only for an actor of the present tenure, so what found() says of a slot stays true until the successor
//     acts: at most one incarnation of a slot works. found() ends lanes that nobody can take over: those that were
//     never told to load, those that have failed, and those that were told to end.
//     A lane that has halted makes room for its successor at once, and is named as a late writer until it has gone.
// H-3 What a lane reports goes to the actor that has it, and what it said while nobody had it is asked again or
//     remembered: `failed` is told to the next one. `halted` and `gone` go past all actors, to the supervisor that there is,
//     and so may overtake `failed`: they say why it failed, too.
// Thread-safe. Owned by the replica, which outlives all actors and lanes.
#pragma once

#include "actors/supervisor/recovery.hpp"
#include "actors/worker/worker_lane.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vdist::actors {

class kept_lanes {
public:
  /// `make` makes and starts a lane, on the thread of the worker's actor; it may throw. `on_end` hears `halted` and `gone`,
  /// and must not block.
  kept_lanes(std::size_t slots,
             worker_lane_factory make,
             std::function<void(const worker_event&)> on_end);

  /// What a process before this one has left: incarnations that are over, and living ones whose lanes are made when they are
  /// taken. By slot. Before the first tenure.
  void remember(const std::vector<supervisor::slot_start>& left);

  /// Ends the tenure of the supervisor before. Returns the number of the next one.
  std::uint64_t begin_tenure();
  /// H-1. Of a supervisor that has a successor already: nothing.
  void end_tenure(std::uint64_t tenure);

  /// What the supervisor of the present tenure finds, by slot. Every `halted` and `gone` of a dying one, and every `gone` of
  /// a late writer, comes after this call has begun (H-2).
  [[nodiscard]] std::vector<supervisor::slot_start> found();

  /// The lane of an actor: the slot's living one if that is wanted, else a new one. Throws
  /// std::runtime_error when the tenure is over or the living lane is not there.
  [[nodiscard]] std::shared_ptr<worker_lane> take(std::uint64_t tenure, lane_request wanted);

  /// Nobody comes any more: stops every lane, also those that nobody has, and every later one.
  void stop_all();

private:
  class held_lane;
  enum class life : std::uint8_t { none, made, loading, living, failed, retiring, dying };

  struct late_lane {
    incarnation worker;
    std::shared_ptr<worker_lane> lane; // as in slot_record
  };

  struct slot_record {
    incarnation worker; // the last one; 0: none
    life state = life::none;
    std::shared_ptr<worker_lane>
        lane;           // shared with its thread, or with those who watch its process
    lane_report report; // of the newest actor
    std::function<void()> kill_actor;
    std::optional<worker_event> failure;
    std::vector<late_lane> late; // halted, the oldest first; its last one may be `worker`
  };

  [[nodiscard]] std::mutex& door_of(std::int32_t slot);
  [[nodiscard]] bool is_present(std::uint64_t tenure) const;
  [[nodiscard]] std::shared_ptr<worker_lane> make(lane_request wanted);
  [[nodiscard]] slot_record* record_of(std::int32_t slot, incarnation worker);
  void on_event(worker_event event);
  [[nodiscard]] bool on_halted(const worker_event& event);
  [[nodiscard]] bool on_gone(worker_event& event, std::shared_ptr<worker_lane>& ended);
  void on_end(worker_event event);
  void kill_actor_of(std::int32_t slot, incarnation worker);
  void load(std::uint64_t tenure, const held_lane& from);
  void stop(std::uint64_t tenure, const held_lane& from);
  void retire(std::uint64_t tenure, const held_lane& from);

  const worker_lane_factory make_;
  const std::function<void(const worker_event&)> on_end_;
  /// One per slot: held while its lane is told something, so that load() has returned before anybody
  /// judges the lane by it. Taken before mutex_, never by what a lane reports.
  std::vector<std::mutex> doors_;
  mutable std::mutex mutex_;
  std::vector<slot_record> slots_; // guarded by mutex_
  std::uint64_t tenure_ = 0;       // guarded by mutex_
  bool has_tenant_ = false;        // guarded by mutex_
  bool is_over_ = false;           // guarded by mutex_
};

} // namespace vdist::actors
