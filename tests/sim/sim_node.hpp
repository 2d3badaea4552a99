// tests/sim/sim_node.hpp — a control process: guardian, router, schedulers, supervisors, executors and step lanes, all of
// them the real ones, over what outlives it (sim_host.hpp). Nothing in it survives its death but the ledger's region.
//
// N-1 A node that is dead reaches nobody: what its actors still do is void.
// N-2 What the children of the guardian are told follows actors/system: a router's and a scheduler's successor has
//     `restarted` sent for its replicas, a supervisor's adopts the workers.
#pragma once

#include "tests/sim/checked_ledger.hpp"
#include "tests/sim/sim_host.hpp"

#include "actors/executor/executor.hpp"
#include "actors/executor/step_lane.hpp"
#include "actors/guardian/guardian.hpp"
#include "actors/router/router.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/supervisor/supervisor.hpp"
#include "actors/system/kept_lanes.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace vdist::testing {

/// The surroundings of a node; borrowed, outlive it.
struct sim_node_links {
  caf::actor_system* actors = nullptr;
  timeline* line = nullptr;
  verdict* checks = nullptr;
  std::vector<std::unique_ptr<sim_group>>* groups = nullptr;
  std::span<std::byte> ledger_region;
  /// Before tokens are committed.
  checked_ledger::look on_commit;
  std::function<void(std::int32_t replica)> on_failed; // a replica is given up
  std::function<void()> on_given_up;                   // the process has to be started anew
};

class sim_node : public std::enable_shared_from_this<sim_node> {
public:
  sim_node(const sim_schedule& schedule, sim_node_links links);

  sim_node(const sim_node&) = delete;
  sim_node& operator=(const sim_node&) = delete;

  /// Spawns the guardian, which spawns the rest.
  void start();
  /// As SIGKILL: nothing is told to anybody. The caller runs the actors' last messages.
  void die();

  /// Lets this event happen, if it is one of the control side. False: there is nobody.
  bool suffer(const sim_event& event);

  /// Whether this actor gets no thread at present.
  [[nodiscard]] bool is_stalled(caf::actor_id actor) const {
    return actor == stalled_actor_ && links_.line->now() < actor_stalled_until_;
  }

  /// Does one thing of a step lane, if there is one to do. False: nothing.
  bool turn(std::size_t start);
  [[nodiscard]] std::optional<time_point> due() const;

  [[nodiscard]] const actors::route<actors::router_actor>& router() const { return router_; }

  [[nodiscard]] const ledger::ledger& journal() const { return *journal_; }

  [[nodiscard]] const actors::request_table& table() const { return table_; }

  /// States of replicas, for people.
  [[nodiscard]] std::string describe() const;

private:
  struct lane_record {
    std::shared_ptr<actors::step_lane> lane; // shared with its executor
    std::optional<time_point> due;
  };

  struct replica_record {
    explicit replica_record(std::size_t requests_max) : inbox(requests_max) {}

    std::unique_ptr<checked_ledger> journal;
    std::unique_ptr<actors::kept_lanes> workers;
    actors::step_inbox inbox;
    metrics::step_times times;
    std::optional<sched::kv_table> kv;
    actors::route<actors::scheduler_actor> scheduler;
    actors::route<actors::supervisor_actor> supervisor;
    actors::executor_actor executor;
    std::deque<lane_record> lanes; // the newest last; those that have ended are gone
    std::shared_ptr<actors::step_lane> newest;
    time_point stalled_until{}; // the step thread
    bool has_supervisor = false;
    bool has_failed = false;
  };

  [[nodiscard]] sim_group& group(std::int32_t replica) const;
  [[nodiscard]] sched::replica_choice make_choice();
  [[nodiscard]] caf::strong_actor_ptr spawn_router();
  [[nodiscard]] caf::strong_actor_ptr spawn_scheduler(std::int32_t replica);
  [[nodiscard]] caf::strong_actor_ptr spawn_supervisor(std::int32_t replica);
  [[nodiscard]] actors::executor_actor spawn_executor(std::int32_t replica);
  [[nodiscard]] actors::replica_environment environment(std::int32_t replica);
  [[nodiscard]] actors::guardian_config guardian_config_of();
  [[nodiscard]] std::unique_ptr<actors::kept_lanes> make_workers(std::int32_t replica);
  void hand_over_again(std::int32_t replica);
  void end_lane(std::int32_t replica);
  void report_end(std::int32_t replica);
  bool stall_actor(const sim_event& event);
  bool kill_stage(const sim_event& event);

  const sim_schedule& schedule_;
  sim_node_links links_;
  bool is_dead_ = false;
  caf::actor_id stalled_actor_ = 0; // 0: none
  time_point actor_stalled_until_{};
  std::unique_ptr<ledger::shared_ledger> journal_;
  std::deque<sched::replica_view> views_; // by replica
  actors::request_table table_;
  failpoints points_;
  frame::wait_policy waits_;
  std::vector<std::unique_ptr<replica_record>> replicas_;
  actors::route<actors::router_actor> router_;
  actors::guardian_actor guardian_;
};

} // namespace vdist::testing
