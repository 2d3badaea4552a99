// tests/sim/sim_host.hpp — what outlives a control process: worker processes, the memory of their slots, fences, channels
// and the ledger's region. The counterpart of vdist-run and vdist-vault.
//
// Invariants checked here: I5 and R-2 (a successor is spawned only over a predecessor that has halted or is gone), R-3 (epochs rise), I9
// (spawns of one slot within the window, under one supervisor, is bounded).
#pragma once

#include "tests/runtime/sched/torn_table.hpp"
#include "tests/sim/schedule.hpp"
#include "tests/sim/sim_worker.hpp"

#include "actors/gateway/board_areas.hpp"
#include "actors/gateway/epoch_wiring.hpp"
#include "actors/gateway/flight_log.hpp"
#include "actors/supervisor/recovery.hpp"

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace vdist::testing {

inline constexpr std::uint64_t sim_cluster = 0x5eed;

/// The workers and channels of one replica.
class sim_group {
public:
  sim_group(const sim_schedule& schedule, std::int32_t replica, const channel_world& world);

  sim_group(const sim_group&) = delete;
  sim_group& operator=(const sim_group&) = delete;

  /// For the supervisor of the moment.
  [[nodiscard]] std::shared_ptr<actors::worker_lane> make_lane(actors::lane_request wanted);
  [[nodiscard]] result<std::shared_ptr<actors::epoch_wiring>>
  make_wiring(epoch now, const std::vector<std::uint32_t>& incarnations);

  void raise_fence(epoch now) { fence_.raise(now); }

  /// The control process has ended: nobody steers the processes any more.
  void detach();
  /// Another supervisor counts anew (I9).
  void begin_tenure();
  /// Whether somebody is not gone yet of whom the next control process would not know: it waits for them. One that has halted
  /// and has no successor is adopted, and its end is heard.
  [[nodiscard]] bool has_dying() const;
  /// What a control process finds when it starts.
  [[nodiscard]] std::vector<supervisor::slot_start> left() const;
  /// Above every epoch that was used.
  [[nodiscard]] epoch next_epoch() const;

  [[nodiscard]] std::atomic<std::uint64_t>& last_step() { return last_step_; }

  /// Where schedulers write down which KV they have; as long as the memory of the slots.
  [[nodiscard]] std::span<std::byte> kv_table() const { return kv_table_.span(); }

  [[nodiscard]] actors::kept_tokens& kept() { return kept_; }

  [[nodiscard]] actors::flight_words& flights() { return *flights_; }

  /// Lets this event happen, if it is one of workers or channels. False: there is nobody.
  bool suffer(const sim_event& event);

  /// Does one thing, if there is one to do; `start` says with whom to begin. False: nothing.
  bool turn(std::size_t start);
  [[nodiscard]] std::optional<time_point> due() const;

  /// I4: tokens may be committed now, of the epoch that was heard last.
  [[nodiscard]] bool may_commit() const;

  [[nodiscard]] std::uint64_t steps() const;

  [[nodiscard]] std::uint64_t late_writes() const;

private:
  struct slot_record {
    std::shared_ptr<sim_worker> process; // the newest; null: there was none
    std::function<void()> kill_actor;
    std::weak_ptr<sim_lane> lane;
    std::vector<std::shared_ptr<sim_worker>> late; // of those before it, who are not gone
    std::vector<time_point> spawned;               // under this supervisor
    bool load_fails = false;
  };

  /// The channels of one epoch.
  struct wiring_record {
    std::vector<std::shared_ptr<sim_link>> plans; // by slot
    std::vector<std::shared_ptr<sim_link>> results;
  };

  [[nodiscard]] std::shared_ptr<sim_worker> spawn(const actors::lane_request& wanted);
  [[nodiscard]] std::optional<sim_ends> open(std::int32_t slot, epoch now);
  void let_past_return(std::size_t slot);
  void forget_gone(slot_record& record);
  bool strike(slot_record& record, const sim_event& event);

  const sim_schedule& schedule_;
  std::int32_t replica_;
  channel_world world_;
  frame::fence fence_;
  std::vector<slot_record> slots_;
  std::vector<slot_memory> memory_; // by slot
  std::map<std::uint32_t, wiring_record> wirings_;
  std::vector<channel_faults> plan_faults_;   // by stage
  std::vector<channel_faults> result_faults_; // by slot
  std::vector<std::deque<wire_bytes>> past_plans_;
  std::vector<std::deque<wire_bytes>> past_results_;
  std::uint32_t wired_ = 0; // the newest epoch that has channels
  std::uint32_t heard_ = 0; // the epoch of the last result that the step lane heard
  std::atomic<std::uint64_t> last_step_{0};
  table_memory kv_table_;
  actors::kept_tokens kept_;
  std::unique_ptr<actors::flight_words> flights_ = std::make_unique<actors::flight_words>();
  std::uint64_t steps_ = 0;       // of processes that have a successor
  std::uint64_t late_writes_ = 0; // … that are gone
};

} // namespace vdist::testing
