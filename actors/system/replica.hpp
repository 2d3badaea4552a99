// actors/system/replica.hpp — what one data-parallel replica consists of beside its actors: fence, inbox, lanes, channels.
// It belongs to the cluster and outlives all its actors; actors that die find it again as it was.
#pragma once

#include "actors/executor/step_inbox.hpp"
#include "actors/executor/step_lane.hpp"
#include "actors/gateway/board_areas.hpp"
#include "actors/gateway/epoch_wiring.hpp"
#include "actors/gateway/event_pump.hpp"
#include "actors/gateway/regions.hpp"
#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/supervisor/recovery_meter.hpp"
#include "actors/supervisor/supervisor.hpp"
#include "actors/system/actor_census.hpp"
#include "actors/system/kept_lanes.hpp"
#include "actors/system/lane_threads.hpp"
#include "actors/system/layer_watch.hpp"
#include "actors/system/model_setup.hpp"
#include "actors/system/node_watch.hpp"
#include "actors/system/slot_marks.hpp"

#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/base/fault_trace.hpp"
#include "runtime/ledger/ledger.hpp"
#include "runtime/metrics/recovery_metrics.hpp"
#include "runtime/metrics/request_metrics.hpp"
#include "runtime/metrics/step_times.hpp"
#include "runtime/sched/kv_table.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "host/host_link.hpp"

namespace vdist::actors {

/// What all replicas share. Owned by the cluster.
struct system_parts {
  const model_setup* setup = nullptr;
  caf::actor_system* actors = nullptr;
  actor_census* census = nullptr;  // every actor that is spawned
  host::host_link* host = nullptr; // null: workers are threads
  vault::vault* memory = nullptr;
  std::span<std::byte> store; // the host store of all replicas; empty: there is none
  ledger::ledger* journal = nullptr;
  failpoints* points = nullptr;
  fault_trace* trace = nullptr;
  const clock* time = nullptr;
  lane_threads* threads = nullptr;
  route<router_actor> router;
  frame::wait_settings waits;
  std::uint64_t cluster = 0;
  run_words* run = nullptr;                // how far replicas have come
  std::vector<sched::replica_view*> views; // by replica: what the router sees of its KV
  std::vector<std::vector<supervisor::slot_start>>
      left; // by a process before this one; by replica, or empty
  /// Bytes loaded and in total, of one rank. May be empty.
  std::function<void(std::int32_t rank, std::uint64_t done, std::uint64_t total)> on_load;
  /// A replica is given up, for that rank or for none (no value): replica_environment::on_given_up.
  std::function<std::string(
      std::int32_t replica, std::optional<rank_id> rank, const std::string& reason)>
      on_given_up;
};

/// What a replica has in the cluster's vault. It outlives this process, and ends with the KV.
struct replica_memory {
  mapped_words<replica_words> words;
  mapped_words<flight_words> flights;
  vault::region kv_table;
};

[[nodiscard]] result<replica_memory>
map_replica_memory(vault::vault& memory, const model_setup& setup, std::int32_t index);

/// What the replica's recovery machine goes by.
[[nodiscard]] supervisor::recovery_config recovery_config_of(const model_setup& setup,
                                                             std::int32_t slots);

class replica {
public:
  /// `memory`: of map_replica_memory(). `on_state` hears of every change of state, on the
  /// supervisor's thread, before the router does.
  replica(std::int32_t index,
          const system_parts& parts,
          replica_memory memory,
          std::function<void(replica_state, const std::string&)> on_state);

  /// The first one or a successor, reachable and started; by one thread.
  [[nodiscard]] caf::strong_actor_ptr spawn_scheduler();
  /// … and it spawns the rest, or takes over what it finds.
  [[nodiscard]] caf::strong_actor_ptr spawn_supervisor();
  /// Ends all actors of the replica, its workers, and every wait of its lanes; nobody comes any
  /// more. The threads end soon after. Any number of times.
  void stop();

  /// The device of this rank, one of the replica's, must not be used any more (V-11 of supervisor.hpp). Any thread.
  void lose_device_of(rank_id rank, const std::string& reason) {
    supervisor_.send(worker_event{.what = worker_event::kind::failed,
                                  .slot = rank.value - first_rank(),
                                  .status = errc::device_lost,
                                  .text = reason});
  }

  /// The replica has been given up: nothing more reaches its lane, and the lane ends. Once nothing
  /// of it can be committed any more, at once if it has ended, the router is told `ended`. Any
  /// thread, any number of times.
  void end_lane(const std::string& reason);

  [[nodiscard]] const metrics::step_times& times() const { return times_; }

  /// What the router measures of its requests goes there too.
  [[nodiscard]] metrics::request_metrics& requests() { return requests_; }

  [[nodiscard]] const metrics::request_metrics& requests() const { return requests_; }

  [[nodiscard]] const metrics::recovery_metrics& recoveries() const { return recoveries_; }

  /// The highest epoch that was prepared or has begun.
  [[nodiscard]] std::uint32_t highest_epoch() const { return progress().epoch; }

  [[nodiscard]] sched::scheduler_stats scheduler_stats() const;

  /// In all, also by processes before this one.
  [[nodiscard]] const kept_tokens& kept() const { return progress().kept; }

  /// Requests whose KV this replica holds.
  [[nodiscard]] std::vector<request_id> keepers() const {
    return kv_table_.content() != 0 ? kv_table_.keepers() : std::vector<request_id>();
  }

  [[nodiscard]] const route<supervisor_actor>& supervisor() const { return supervisor_; }

  [[nodiscard]] const route<scheduler_actor>& scheduler() const { return scheduler_; }

  /// Workers that were started in the place of another, since there is this cluster; whoever supervised them.
  [[nodiscard]] std::uint64_t restarts() const { return progress().restarts; }

  /// Every actor of this replica that is there now.
  [[nodiscard]] std::vector<caf::actor> living_actors() const;

  /// What step lane and event pump say of themselves (progress_word.hpp).
  [[nodiscard]] std::vector<std::uint64_t> progress_words() const;

  /// Of a rank of this replica that computes a model and has the layer; errors as layer_watch::start(). Any thread.
  [[nodiscard]] result<std::unique_ptr<layer_watch>> watch_layer(const layer_watch_config& config);

private:
  [[nodiscard]] std::int32_t first_rank() const;
  [[nodiscard]] step_lane_config lane_config() const;
  [[nodiscard]] lane_store store_of_lane() const;
  [[nodiscard]] std::shared_ptr<worker_lane> make_lane(lane_request wanted);
  [[nodiscard]] lane_report with_spare(lane_report report, protocol::worker_order order);
  void end_spares() const;
  [[nodiscard]] std::shared_ptr<worker_lane>
  make_thread_lane(lane_request wanted,
                   const protocol::worker_order& order,
                   std::function<void(std::uint64_t, std::uint64_t)> progress);
  [[nodiscard]] result<std::shared_ptr<epoch_wiring>>
  wire(epoch now, const std::vector<std::uint32_t>& incarnations);
  [[nodiscard]] std::uint64_t kv_content() const;
  [[nodiscard]] replica_progress& progress() const;
  void report_end() const;
  void note_epoch(epoch now);
  void note_recovery(const supervisor::recovery_mark& mark);
  [[nodiscard]] std::optional<time_point> busy_since() const;
  void note_moment(const fault_moment& moment);
  void note_tokens(const token_events& events);
  void note_spawned(const caf::strong_actor_ptr& actor);
  [[nodiscard]] supervisor::group_state found_group();
  [[nodiscard]] executor_actor spawn_executor();
  [[nodiscard]] replica_environment environment();

  std::int32_t index_;
  system_parts parts_;
  std::vector<std::int32_t> stage_of_slot_;
  slot_marks retired_; // their workers end by order
  mapped_words<replica_words> words_;
  mapped_words<flight_words> flights_;
  vault::region kv_region_; // mapped as long as the table is used
  sched::kv_table kv_table_;
  frame::wait_policy waits_;
  event_pump events_;                      // of worker processes; runs only with them
  std::atomic<std::uint32_t> first_of_{0}; // the epoch whose first tokens are to come; 0: none
  std::function<void(replica_state, const std::string&)> on_state_;
  kept_lanes workers_;
  step_inbox inbox_;
  metrics::step_times times_;
  metrics::request_metrics requests_;
  metrics::recovery_metrics recoveries_;
  supervisor::recovery_meter recovery_meter_{recoveries_};
  route<supervisor_actor> supervisor_;
  route<scheduler_actor> scheduler_;
  actor_roll spawned_; // executors, stages and workers
  mutable std::mutex lane_mutex_;
  std::shared_ptr<step_lane>
      lane_; // the newest; shared with its thread and its actor; guarded by lane_mutex_
  std::optional<std::string> given_up_; // why; guarded by lane_mutex_
  std::mutex watch_mutex_;              // for changes of words_->watched
};

} // namespace vdist::actors
