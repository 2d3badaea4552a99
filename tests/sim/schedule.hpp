// tests/sim/schedule.hpp — what a run consists of: a topology, its limits, and a list of events in virtual time, all of it
// drawn from one seed. A run is a function of its schedule, so a list that breaks an invariant can be made shorter.
#pragma once

#include "tests/sim/dice.hpp"

#include "actors/supervisor/recovery.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/protocol/request.hpp"
#include "runtime/sched/scheduler.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing {

struct sim_event {
  enum class kind : std::uint8_t {
    // What clients do.
    submit, // argument: seed of the request
    cancel, // argument: which one
    poison, // argument: which one; from now on workers die of its steps
    // Faults of workers; replica, slot.
    worker_dies,    // the process ends by itself
    worker_killed,  // its actor is killed
    worker_stops,   // argument: for so many ms
    worker_slow,    // argument: so many times
    load_fails,     // the next load of the slot
    peer_late,      // it says that a peer kept it waiting
    digest_differs, // of its next result
    result_fails,   // its next result is an error
    // Faults of the control side.
    executor_killed,
    executor_crashes, // before it sends its next plan
    lane_stalls,      // argument: its thread does not run for so many µs
    actor_stalls,     // argument: µs; of router, scheduler or supervisor, by argument % 3
    stage_killed,
    router_killed,
    scheduler_killed,
    supervisor_killed,
    node_killed, // the control process with everything in it
    // Faults of channels; replica, slot. argument: frame::tampering of the next frame.
    plans_tampered,
    results_tampered,
    delayed,      // argument: the next result, so many ms
    partitioned,  // argument: nothing of the slot arrives for so many ms
    past_returns, // frames of earlier epochs and incarnations come again
  };
  kind what = kind::submit;
  duration at{}; // since the start
  std::int32_t replica = 0;
  std::int32_t slot = 0;
  std::uint64_t argument = 0;
};

inline constexpr std::size_t sim_event_kinds = 25;

[[nodiscard]] std::string_view to_string(sim_event::kind what) noexcept;
/// "at_us=1200 worker_dies replica=0 slot=1 argument=0"
[[nodiscard]] std::string to_string(const sim_event& event);

struct sim_schedule {
  std::uint64_t seed = 0;
  std::int32_t replicas = 1;
  std::vector<std::int32_t> stage_of_slot;
  std::int32_t sampling_slot = 0;
  sched::scheduler_config scheduler;
  supervisor::recovery_config recovery;
  std::int32_t poison_strikes = 0; // as step_lane_config has it
  std::vector<sim_event> events;   // by time
};

/// One of these for every seed.
[[nodiscard]] sim_schedule make_schedule(std::uint64_t seed);

/// The same for schedules in which requests are poisonous. All other faults are of those that strike nobody: so whoever is
/// not poisonous has to get all its tokens.
[[nodiscard]] sim_schedule make_poison_schedule(std::uint64_t seed);

/// A request as a client sends it; `seed` is the argument of its event.
[[nodiscard]] protocol::request make_sim_request(std::uint64_t seed,
                                                 std::uint64_t client_key,
                                                 const sched::scheduler_config& limits);

/// A shorter list of events for which `is_broken` still holds (delta debugging); tries at most
/// `tries` runs.
[[nodiscard]] sim_schedule
shrink(sim_schedule broken, const std::function<bool(const sim_schedule&)>& is_broken, int tries);

/// Seed, topology, limits and events, one a line.
[[nodiscard]] std::string describe(const sim_schedule& schedule);

} // namespace vdist::testing
