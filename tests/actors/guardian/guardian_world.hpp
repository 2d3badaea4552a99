// tests/actors/guardian/guardian_world.hpp — everything that the guardian keeps alive, for deaths between any two messages:
// real guardian, router, schedulers, supervisors, stages, workers and kept lanes; in place of threads, lanes that take a
// turn when no message is ready. One thread, so a run is a function of its deaths and of the seed that says which of the
// actors that have messages comes next. Two replicas of two stages with one
// worker each. What a request generates follows from its key.
#pragma once

#include "tests/actors/router/recording_sink.hpp"
#include "tests/support/actor_fixture.hpp"

#include "actors/executor/step_inbox.hpp"
#include "actors/guardian/guardian.hpp"
#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/router/request_table.hpp"
#include "actors/supervisor/supervisor.hpp"
#include "actors/system/kept_lanes.hpp"
#include "actors/worker/worker_lane.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/ledger/memory_ledger.hpp"

#include <array>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace vdist::testing {

enum class victim { router, scheduler, supervisor, stage, executor, worker };

[[nodiscard]] const char* to_string(victim who);

/// Who dies before which message is handled; of actors that come in several, those of replica 0.
struct death {
  std::size_t at = 0;
  victim who = victim::router;
};

class guardian_world : public actor_fixture {
public:
  static constexpr std::int32_t replicas = 2;
  static constexpr std::int32_t slots = 2;

  /// Seed 0: actors take turns. `pause`: before the second restart of an actor.
  explicit guardian_world(std::uint64_t seed = 0, duration pause = {});
  ~guardian_world();
  guardian_world(const guardian_world&) = delete;
  guardian_world& operator=(const guardian_world&) = delete;

  /// Starts the cluster, sends all requests, lets the deaths come, and runs until nothing moves.
  /// Returns the number of messages.
  std::size_t run(const std::vector<death>& deaths);

  /// "" when every client has got its tokens, once and in order, and no slot had two workers;
  /// otherwise what is wrong.
  [[nodiscard]] std::string verdict() const;

  /// Worker lanes that were made.
  [[nodiscard]] int lanes_made() const { return lanes_made_; }

  [[nodiscard]] std::vector<std::uint64_t> restarts();

  failpoints points;

private:
  class lane_of_worker;
  struct step_lane;
  struct group;

  struct client {
    std::shared_ptr<recording_sink> sink; // with the router
    std::unique_ptr<caf::scoped_actor> asker;
    actors::router_actor asked; // who got the request
    request_id id;              // 0: no answer yet
  };

  void start();
  void submit(std::uint64_t key);
  bool clients_return();
  bool lanes_turn();
  bool turn(group& mine);
  void take(group& mine, const protocol::request& request);
  void compute(group& mine);
  void die(victim who);
  [[nodiscard]] caf::strong_actor_ptr find(victim who);
  [[nodiscard]] std::shared_ptr<actors::worker_lane> make_lane(group& mine,
                                                               actors::lane_request wanted);
  [[nodiscard]] actors::executor_actor spawn_executor(group& mine);
  [[nodiscard]] actors::replica_environment environment_of(group& mine);
  [[nodiscard]] actors::guardian_config children();

  std::uint64_t seed_;
  std::mt19937_64 order_;
  duration pause_;
  ledger::memory_ledger journal_;
  actors::request_table table_{replicas};
  actors::route<actors::router_actor> router_;
  std::vector<std::unique_ptr<group>> groups_;
  actors::guardian_actor guardian_;
  std::map<std::uint64_t, client> clients_; // by key
  std::string defect_;                      // the first one
  int lanes_made_ = 0;
};

} // namespace vdist::testing
