// actors/system/cluster.hpp — the owner of what outlives actors: processes and shared memory, request table, ledger, routes,
// the replicas with their lanes, and the actor system itself; and of the guardian, which spawns all actors over them.
//
// C-1 Actors are reached through routes only, so a successor needs nobody's permission.
// C-2 What a successor has to be told is told by the functions that the guardian calls here: to a router `restarted` or
//     `failed` for every replica, to the router `restarted` when a scheduler is new; a supervisor finds its workers itself.
// C-3 An actor that dies too often: as the child of vdist-run this process ends with host::exit_escalated, and its successor
//     goes on from the ledger; else the replica is given up, or with the router the cluster, and every request ends.
// C-4 When the last replica is given up, the child of vdist-run goes on with fewer workers if it can (reduction.hpp).
// Threads: start() and the destructor by one; the rest by any.
#pragma once

#include "actors/guardian/guardian.hpp"
#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/router/request_table.hpp"
#include "actors/system/actor_census.hpp"
#include "actors/system/caller_thread.hpp"
#include "actors/system/capacity_book.hpp"
#include "actors/system/device_watch.hpp"
#include "actors/system/isolation.hpp"
#include "actors/system/lane_threads.hpp"
#include "actors/system/load_meter.hpp"
#include "actors/system/model_setup.hpp"
#include "actors/system/node_watch.hpp"
#include "actors/system/replica.hpp"
#include "actors/system/replica_board.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/metrics/request_metrics.hpp"

#include "kernels/cuda_module.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace vdist::actors {

/// CAF reads no file and no command line here; its default policy burns half a core when idle.
struct quiet_actor_config : caf::actor_system_config {
  quiet_actor_config();
};

/// From the system's source of randomness.
[[nodiscard]] std::uint64_t random_u64();

/// Actors that the guardian has started, their first ones too.
struct actor_starts {
  metrics::counter routers{0};
  metrics::counter schedulers{0};
  metrics::counter supervisors{0};
};

class cluster {
public:
  /// `on_load`: sums over all ranks, while they load for the first time. `borrowed`: the actor system to spawn into, which
  /// outlives the cluster; null: one of its own.
  cluster(model_setup made,
          std::function<void(std::uint64_t done, std::uint64_t total)> on_load,
          caf::actor_system* borrowed = nullptr);
  ~cluster(); // ends all actors, then their lanes
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;

  /// Spawns everything. Processes first, then actors: no child is made while threads hold locks.
  [[nodiscard]] result<void> start(const host_access& access);

  /// Returns when every replica runs, or with the first failure; one that follows a process which ran also when some of
  /// the replicas run and the others were given up.
  [[nodiscard]] result<void> wait_until_running();

  /// wait_until_running() returns at once, with errc::cancelled unless it has another reason.
  void give_up_waiting() { board_.fail(fail(errc::cancelled, "start: it was called off")); }

  [[nodiscard]] const model_setup& setup() const { return setup_; }

  [[nodiscard]] isolated_parts& parts() { return parts_; }

  [[nodiscard]] const clock& time() const { return time_; }

  [[nodiscard]] const std::vector<std::unique_ptr<replica>>& replicas() const { return replicas_; }

  [[nodiscard]] const route<router_actor>& router() const { return router_; }

  [[nodiscard]] const route<guardian_actor>& guardian() const { return guardian_; }

  [[nodiscard]] std::optional<error> failure() const { return board_.failure(); }

  /// After start().
  [[nodiscard]] const capacity_book& capacity() const { return *capacity_; }

  [[nodiscard]] replica_state state_of(std::size_t replica) const { return board_.get(replica); }

  [[nodiscard]] const metrics::refusal_metrics& refusals() const { return refusals_; }

  [[nodiscard]] const actor_starts& starts() const { return starts_; }

  [[nodiscard]] const device_event_counts& device_events() const { return device_events_; }

  [[nodiscard]] const ledger::ledger& journal() const { return *parts_.journal; }

  /// nullptr: processes are not supervised.
  [[nodiscard]] const host::board_words* board() const {
    return parts_.board ? &**parts_.board : nullptr;
  }

  /// Empty when workers are threads.
  [[nodiscard]] std::vector<host::process_info> processes() const;

  /// Blocks. Asks whoever is there; when that actor ends before it has answered, its successor, with
  /// a question made anew: it must not matter whether the first one was heard. nullopt: no answer
  /// within `wait`.
  template <class Answer, class Handle, class MakeQuestion>
  [[nodiscard]] std::optional<Answer>
  ask(const route<Handle>& whom, duration wait, const MakeQuestion& make_question) const {
    const auto deadline = time_.now() + wait;
    std::optional<Answer> answer;
    for (auto to = whom.await_successor({}, wait); to && !answer;
         to = whom.await_successor(to, deadline - time_.now())) {
      const caller_thread asking(*actors_); // ends behind the actor
      caf::scoped_actor self{*actors_};
      self->monitor(to);
      self->send(to, make_question());
      self->receive([&answer](const Answer& value) { answer = value; },
                    [](const caf::down_msg&) {},
                    caf::after(std::max(deadline - time_.now(), duration(0))) >> [] {});
      self->demonitor(to.address());
      if (answer) {
        break;
      }
    }
    return answer;
  }

private:
  [[nodiscard]] result<void> make_replicas();
  void go_on_draining();
  [[nodiscard]] guardian_child router_child();
  [[nodiscard]] std::unordered_map<request_id, std::int32_t> kept_by() const;
  [[nodiscard]] guardian_child scheduler_child(std::size_t index);
  [[nodiscard]] guardian_child supervisor_child(std::size_t index);
  void spawn_guardian();
  void watch_self();
  void watch_devices();
  void lose_device(std::int32_t device, const std::string& reason);
  [[nodiscard]] bool is_lost(std::size_t index) const;
  void tell_router_of(std::size_t index) const;
  [[nodiscard]] std::string
  on_given_up(std::int32_t replica, std::optional<rank_id> rank, const std::string& reason);
  [[nodiscard]] error go_on_with_fewer(const std::string& reason);
  void give_up_replica(std::size_t index, const std::string& reason);
  void give_up(const std::string& reason);

  model_setup setup_;
  system_clock time_;
  isolated_parts parts_;
  std::vector<std::unique_ptr<sched::replica_view>> views_; // by replica
  request_table table_;                                     // one router at a time
  metrics::refusal_metrics refusals_{};
  actor_starts starts_;
  replica_board board_;
  load_meter loads_;
  std::optional<capacity_book> capacity_;
  bool has_run_before_ = false; // under another process, which this one follows
  std::mutex loss_mutex_;
  std::vector<rank_id> lost_ranks_; // that replicas were given up for; guarded by loss_mutex_
  std::atomic<bool> is_stopping_{false};

  quiet_actor_config actor_config_;
  std::unique_ptr<caf::actor_system> system_; // null: never started, or borrowed
  caf::actor_system* actors_ = nullptr;       // the own one or a borrowed one; null: never started
  caf::actor_system* borrowed_;               // null: none
  actor_census census_;                       // all actors of this cluster
  std::unique_ptr<lane_threads> threads_;
  std::vector<std::unique_ptr<replica>> replicas_;
  route<router_actor> router_;
  route<guardian_actor> guardian_;
  std::unique_ptr<node_watch> watch_; // null: nobody looks after this process
  device_event_counts device_events_{};
  std::unique_ptr<kernels::device_event_source> device_source_; // null: nothing is heard
  std::unique_ptr<device_watch> devices_;                       // ends before what it tells
};

} // namespace vdist::actors
