// actors/system/replica.hpp — what one data-parallel replica consists of beside its actors: fence, inbox, lanes, channels.
// It belongs to the system object and outlives all its actors; actors that die find it again as it was.
#pragma once

#include "actors/executor/step_inbox.hpp"
#include "actors/executor/step_lane.hpp"
#include "actors/gateway/epoch_wiring.hpp"
#include "actors/gateway/event_pump.hpp"
#include "actors/gateway/regions.hpp"
#include "actors/interfaces.hpp"
#include "actors/supervisor/supervisor.hpp"
#include "actors/system/lane_threads.hpp"
#include "actors/system/model_setup.hpp"

#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/ledger/ledger.hpp"
#include "runtime/metrics/step_times.hpp"

#include <caf/actor_system.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "host/host_link.hpp"

namespace vdist::actors {

/// What all replicas share. Owned by the system object.
struct system_parts {
  const model_setup* setup = nullptr;
  caf::actor_system* actors = nullptr;
  host::host_link* host = nullptr; // null: workers are threads
  vault::vault* memory = nullptr;
  ledger::ledger* journal = nullptr;
  failpoints* points = nullptr;
  const clock* time = nullptr;
  lane_threads* threads = nullptr;
  frame::wait_settings waits;
  std::uint64_t cluster = 0;
  /// Bytes loaded and in total, of one rank. May be empty.
  std::function<void(std::int32_t rank, std::uint64_t done, std::uint64_t total)> on_load;
};

class replica {
public:
  /// `words`: those of this replica, in the cluster's vault.
  replica(std::int32_t index, const system_parts& parts, mapped_words<replica_words> words);

  /// Spawns the scheduler actor; the router is needed for refusals only and set by start().
  [[nodiscard]] scheduler_actor spawn_scheduler();
  /// Spawns the supervisor, which spawns the rest.
  void start(const router_actor& router,
             std::function<void(replica_state, const std::string&)> on_state);
  /// Ends all actors of the replica and every wait of its lanes. The threads end soon after.
  void stop();

  [[nodiscard]] const metrics::step_times& times() const { return times_; }

  [[nodiscard]] sched::scheduler_stats scheduler_stats() const;

  [[nodiscard]] const supervisor_actor& supervisor() const { return supervisor_; }

private:
  [[nodiscard]] std::int32_t first_rank() const;
  [[nodiscard]] step_lane_config lane_config() const;
  [[nodiscard]] std::shared_ptr<worker_lane> make_lane(lane_request wanted);
  [[nodiscard]] std::shared_ptr<worker_lane>
  make_thread_lane(lane_request wanted,
                   const protocol::worker_order& order,
                   std::function<void(std::uint64_t, std::uint64_t)> progress);
  [[nodiscard]] result<std::shared_ptr<epoch_wiring>>
  wire(epoch now, const std::vector<std::uint32_t>& incarnations);
  [[nodiscard]] executor_actor spawn_executor(const supervisor_actor& supervisor);
  [[nodiscard]] replica_environment environment();

  std::int32_t index_;
  system_parts parts_;
  std::vector<std::int32_t> stage_of_slot_;
  mapped_words<replica_words> words_;
  frame::wait_policy waits_;
  event_pump events_; // of worker processes; runs only with them
  epoch wired_{};     // whose channels exist; used by the supervisor actor only
  step_inbox inbox_;
  metrics::step_times times_;
  router_actor router_;
  supervisor_actor supervisor_;
  scheduler_actor scheduler_;
  mutable std::mutex lane_mutex_;
  std::shared_ptr<step_lane>
      lane_; // the newest; shared with its thread and its actor; guarded by lane_mutex_
};

} // namespace vdist::actors
