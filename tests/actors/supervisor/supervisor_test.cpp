// Supervisor, stages and workers together, with lanes that only note what they are told; one
// thread, time by hand.
#include "actors/supervisor/supervisor.hpp"

#include "tests/support/actor_fixture.hpp"

#include "actors/executor/executor.hpp"
#include "actors/gateway/epoch_wiring.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <stdexcept>
#include <string>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// Notes every call; a test reports on its behalf.
class fake_lane final : public worker_lane {
public:
  explicit fake_lane(lane_request wanted) : wanted_(std::move(wanted)) {}

  void load() override { is_loading = true; }

  void prepare(epoch now) override { prepared = now; }

  void begin(epoch now) override { begun = now; }

  void stop() override { is_stopped = true; }

  void report(worker_event::kind what, epoch now = {}, errc status = errc::ok) {
    wanted_.report({.what = what,
                    .slot = wanted_.slot,
                    .worker = wanted_.worker,
                    .now = now,
                    .status = status,
                    .text = "told"});
  }

  [[nodiscard]] const lane_request& wanted() const { return wanted_; }

  bool is_loading = false;
  bool is_stopped = false;
  epoch prepared;
  epoch begun;

private:
  lane_request wanted_;
};

/// What the supervisor's surroundings were told; shared with the actors that stand for them.
struct surroundings {
  std::vector<replica_changed> states;
  std::vector<epoch> executor_begun;
};

router_actor::behavior_type fake_router(const std::shared_ptr<surroundings>& around) {
  return {
      [](const submit&) { return submit_reply{}; },
      [](const cancel&) {},
      [](const step_tokens&) {},
      [around](const replica_changed& message) { around->states.push_back(message); },
      [](const get_router_status&) { return router_status{}; },
      [](const drain&) { return router_status{}; },
  };
}

executor_actor::behavior_type fake_executor(const std::shared_ptr<surroundings>& around) {
  return {
      [](const fence_epoch&) {},
      [around](const begin_epoch& message) { around->executor_begun.push_back(message.now); },
  };
}

/// Two stages of two workers.
struct group_fixture : actor_fixture {
  explicit group_fixture(std::int32_t max_restarts = 3) {
    router = actors().spawn(fake_router, around);
    replica_environment environment{
        .stage_of_slot = {0, 0, 1, 1},
        .recovery = {.slots = 4, .max_restarts = max_restarts},
        .make_lane = [this](lane_request wanted) -> std::shared_ptr<worker_lane> {
          if (lanes_to_refuse > 0) {
            --lanes_to_refuse;
            throw std::runtime_error("no thread");
          }
          const auto slot = wanted.slot;
          lanes[slot] = std::make_shared<fake_lane>(std::move(wanted));
          ++lanes_made;
          return lanes[slot];
        },
        .spawn_executor =
            [this](const supervisor_actor&) {
              executor = actors().spawn(fake_executor, around);
              ++executors;
              return executor;
            },
        .make_wiring = [this](epoch now, const std::vector<std::uint32_t>& incarnations)
            -> result<std::shared_ptr<epoch_wiring>> {
          if (is_out_of_channels) {
            return fail(errc::resource_exhausted, "no memory for channels");
          }
          wired[now.value] = incarnations;
          return std::make_shared<epoch_wiring>();
        },
        .raise_fence = [this](epoch now) { fence = now; },
        .time = &time};
    supervisor = actors().spawn(make_supervisor, std::move(environment), router);
    tell(supervisor, start_replica{});
  }

  ~group_fixture() {
    end(supervisor);
    end(router);
    executor = nullptr;
  }

  void all_loaded() {
    for (auto& [slot, lane] : lanes) {
      lane->report(worker_event::kind::loaded);
    }
    settle();
  }

  void report(std::int32_t slot, worker_event::kind what, epoch now = {}, errc status = errc::ok) {
    lanes.at(slot)->report(what, now, status);
    settle();
  }

  void kill_worker_of(std::int32_t slot) {
    lanes.at(slot)->wanted().kill_actor();
    settle();
  }

  /// All survivors of `dead` leave, its thread ends, its replacement loads: the group runs in the
  /// next epoch.
  void mend(std::int32_t dead) {
    const auto lane = lanes.at(dead);
    for (auto& [slot, other] : lanes) {
      if (slot != dead) {
        report(slot, worker_event::kind::quiesced, fence);
      }
    }
    lane->report(worker_event::kind::gone);
    settle();
    report(dead, worker_event::kind::loaded);
  }

  replica_status status() { return ask<replica_status>(supervisor, get_replica_status{}); }

  /// The live stage actors, as the supervisor sees them: a stage's handle goes to nobody else.
  supervisor_state& inside() {
    return static_cast<supervisor_pointer>(caf::actor_cast<caf::abstract_actor*>(supervisor))
        ->state;
  }

  std::map<std::int32_t, std::shared_ptr<fake_lane>> lanes; // by slot, the newest
  int lanes_made = 0;
  int lanes_to_refuse = 0;
  bool is_out_of_channels = false;
  int executors = 0;
  std::shared_ptr<surroundings> around = std::make_shared<surroundings>();
  std::vector<replica_changed>& states = around->states;
  std::vector<epoch>& executor_begun = around->executor_begun;
  std::map<std::uint32_t, std::vector<std::uint32_t>> wired; // epoch → incarnations
  epoch fence;
  router_actor router;
  executor_actor executor;
  supervisor_actor supervisor;
};

struct impatient_group : group_fixture {
  impatient_group() : group_fixture(1) {}
};

} // namespace

BOOST_AUTO_TEST_SUITE(group_of_workers)

BOOST_FIXTURE_TEST_CASE(ends_the_live_incarnation_that_an_operator_names, group_fixture) {
  all_loaded();
  BOOST_TEST(status().worker_states == std::vector<std::string>(4, "running"),
             boost::test_tools::per_element());
  const auto victim = lanes.at(2);
  tell(supervisor, end_worker{2});
  BOOST_TEST(victim->is_stopped);
  BOOST_TEST(status().worker_states[2] == "dying");
  tell(supervisor, end_worker{2}); // nobody is there
  mend(2);
  BOOST_TEST(status().worker_states[2] == "running");
  BOOST_TEST(status().incarnations[2] == 2U);
  BOOST_TEST(status().restarts == 1U);
  tell(supervisor, end_worker{2});
  BOOST_TEST(lanes.at(2)->is_stopped, "the successor, too");
}

BOOST_FIXTURE_TEST_CASE(begins_its_first_epoch_when_all_have_loaded, group_fixture) {
  BOOST_TEST(lanes.size() == 4U);
  for (auto& [slot, lane] : lanes) {
    BOOST_TEST(lane->is_loading);
    BOOST_TEST((lane->begun == epoch(0)), "not before everybody is there");
  }
  for (const std::int32_t slot : {0, 1, 2}) {
    report(slot, worker_event::kind::loaded);
  }
  BOOST_TEST(executor_begun.empty());
  report(3, worker_event::kind::loaded);
  BOOST_TEST((executor_begun == std::vector{epoch(1)}));
  for (auto& [slot, lane] : lanes) {
    BOOST_TEST((lane->begun == epoch(1)));
  }
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(wired.at(1) == std::vector<std::uint32_t>(4, 1), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(replaces_a_worker_that_was_killed, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(2);
  kill_worker_of(2);
  BOOST_TEST(dead->is_stopped, "W-2");
  BOOST_TEST((fence == epoch(2)), "R-1");
  BOOST_TEST((states.back().state == replica_state::recovering));
  for (const std::int32_t slot : {0, 1, 3}) {
    BOOST_TEST((lanes.at(slot)->prepared == epoch(2)));
  }
  BOOST_TEST((dead->prepared == epoch(0)), "the dead are asked nothing");
  BOOST_TEST(lanes_made == 4, "R-2: not while the old thread may touch memory");
  for (const std::int32_t slot : {0, 1, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  dead->report(worker_event::kind::gone);
  settle();
  BOOST_TEST(lanes_made == 5);
  BOOST_TEST((lanes.at(2)->wanted().worker == incarnation(2)));
  BOOST_TEST(wired.count(2) == 0U);
  report(2, worker_event::kind::loaded);
  const std::vector<std::uint32_t> expected{1, 1, 2, 1};
  BOOST_TEST(wired.at(2) == expected, boost::test_tools::per_element());
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(executors == 1, "the scheduler stays and knows its requests");
  BOOST_TEST(status().restarts == 1U);
}

BOOST_FIXTURE_TEST_CASE(a_failure_and_the_death_after_it_are_one_fault, group_fixture) { // T-2
  all_loaded();
  report(1, worker_event::kind::failed, epoch(1), errc::internal);
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST(lanes.at(1)->is_stopped, "a worker that failed ends");
  mend(1);
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(status().restarts == 1U);
  BOOST_TEST(status().incarnations[1] == 2U);
}

BOOST_FIXTURE_TEST_CASE(gone_may_be_heard_before_the_death, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(0);
  dead->report(worker_event::kind::gone); // past the actor, which still lives
  settle();
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST((lanes.at(0)->wanted().worker == incarnation(2)));
  for (const std::int32_t slot : {1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  report(0, worker_event::kind::loaded);
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(status().restarts == 1U);
}

BOOST_FIXTURE_TEST_CASE(events_of_the_past_change_nothing, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(3);
  kill_worker_of(3);
  mend(3);
  dead->report(worker_event::kind::gone);
  dead->report(worker_event::kind::failed, epoch(1), errc::internal);
  report(0, worker_event::kind::quiesced, epoch(1));
  report(0, worker_event::kind::peer_late, epoch(1), errc::timed_out);
  BOOST_TEST(status().now.value == 2U);
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(two_deaths_are_mended_in_one_epoch_or_the_next, group_fixture) {
  all_loaded();
  const auto first = lanes.at(0);
  const auto second = lanes.at(3);
  kill_worker_of(0);
  report(1, worker_event::kind::quiesced, epoch(2));
  kill_worker_of(3);
  BOOST_TEST((fence == epoch(3)));
  report(2, worker_event::kind::quiesced, epoch(3));
  first->report(worker_event::kind::gone);
  second->report(worker_event::kind::gone);
  settle();
  report(0, worker_event::kind::loaded);
  report(3, worker_event::kind::loaded);
  BOOST_TEST((executor_begun.back() == epoch(3)));
  const std::vector<std::uint32_t> expected{2, 1, 1, 2};
  BOOST_TEST(wired.at(3) == expected, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(late_peers_begin_a_new_epoch_without_a_death, group_fixture) {
  all_loaded();
  report(2, worker_event::kind::peer_late, epoch(1), errc::timed_out);
  BOOST_TEST((fence == epoch(2)));
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(status().restarts == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_failed_step_begins_a_new_epoch_once, group_fixture) {
  all_loaded();
  tell(supervisor, step_failed{epoch(1), "ranks disagree"});
  tell(supervisor, step_failed{epoch(1), "ranks disagree"});
  BOOST_TEST((fence == epoch(2)));
}

BOOST_FIXTURE_TEST_CASE(a_survivor_that_does_not_stop_is_killed, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(0);
  kill_worker_of(0);
  for (const std::int32_t slot : {1, 2}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  dead->report(worker_event::kind::gone);
  settle();
  report(0, worker_event::kind::loaded);
  advance(9900ms);
  const auto stuck = lanes.at(3);
  BOOST_TEST(!stuck->is_stopped);
  for (int tick = 0; tick < 3; ++tick) {
    advance(100ms);
  }
  BOOST_TEST(stuck->is_stopped);
  for (const std::int32_t slot : {0, 1, 2}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  stuck->report(worker_event::kind::gone);
  settle();
  report(3, worker_event::kind::loaded);
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(a_thread_that_never_ends_fails_the_replica, group_fixture) {
  all_loaded();
  kill_worker_of(0);
  for (const std::int32_t slot : {1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  for (int second = 0; second < 32; ++second) {
    advance(1s);
  }
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason.find("does not end") != std::string::npos, states.back().reason);
}

BOOST_FIXTURE_TEST_CASE(too_many_deaths_of_one_slot_fail_the_replica, impatient_group) {
  all_loaded();
  kill_worker_of(1);
  mend(1);
  kill_worker_of(1);
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason.find("died 2 times") != std::string::npos, states.back().reason);
}

BOOST_FIXTURE_TEST_CASE(deaths_far_apart_are_forgiven, impatient_group) {
  all_loaded();
  for (int round = 0; round < 3; ++round) {
    kill_worker_of(1);
    mend(1);
    advance(61s);
  }
  BOOST_TEST((status().state == replica_state::running));
  BOOST_TEST(status().restarts == 3U);
}

BOOST_FIXTURE_TEST_CASE(a_load_that_cannot_succeed_is_given_up_at_once, group_fixture) {
  report(0, worker_event::kind::failed, {}, errc::corrupt);
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason == "told");
  BOOST_TEST(lanes_made == 4, "nobody is started again");
}

BOOST_FIXTURE_TEST_CASE(a_load_that_may_succeed_is_tried_again, group_fixture) {
  const auto first = lanes.at(0);
  report(0, worker_event::kind::failed, {}, errc::internal);
  first->report(worker_event::kind::gone);
  settle();
  all_loaded();
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(status().incarnations[0] == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_lane_that_cannot_be_made_is_tried_again, group_fixture) {
  all_loaded();
  lanes_to_refuse = 2;
  const auto dead = lanes.at(2);
  kill_worker_of(2);
  dead->report(worker_event::kind::gone);
  settle();
  BOOST_TEST(lanes_to_refuse == 0);
  BOOST_TEST((lanes.at(2)->wanted().worker == incarnation(4)));
  for (const std::int32_t slot : {0, 1, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  report(2, worker_event::kind::loaded);
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(an_executor_that_died_is_replaced_at_the_next_epoch, group_fixture) { // V-2
  all_loaded();
  end(executor);
  BOOST_TEST((fence == epoch(2)));
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST(executors == 2);
  BOOST_TEST((executor_begun == std::vector{epoch(1), epoch(2)}));
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(status().restarts == 0U, "no worker was touched");
}

BOOST_FIXTURE_TEST_CASE(an_executor_that_dies_during_a_recovery_is_replaced_too, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(0);
  kill_worker_of(0);
  end(executor);
  for (const std::int32_t slot : {1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  dead->report(worker_event::kind::gone);
  settle();
  report(0, worker_event::kind::loaded);
  BOOST_TEST(executors == 2);
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(executors_that_always_die_fail_the_replica, group_fixture) {
  all_loaded();
  for (int round = 0; round < 3; ++round) {
    end(executor);
    for (const std::int32_t slot : {0, 1, 2, 3}) {
      report(slot, worker_event::kind::quiesced, fence);
    }
    BOOST_TEST((status().state == replica_state::running));
  }
  end(executor);
  BOOST_TEST((status().state == replica_state::failed));
  BOOST_TEST(states.back().reason.find("the executor died, 4 such faults") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(steps_that_always_fail_fail_the_replica, group_fixture) {
  all_loaded();
  for (std::uint32_t round = 1; round <= 3; ++round) {
    tell(supervisor, step_failed{epoch(round), "ranks disagree"});
    for (const std::int32_t slot : {0, 1, 2, 3}) {
      report(slot, worker_event::kind::quiesced, fence);
    }
  }
  BOOST_TEST((status().state == replica_state::running));
  tell(supervisor, step_failed{epoch(4), "ranks disagree"});
  BOOST_TEST((status().state == replica_state::failed));
}

BOOST_FIXTURE_TEST_CASE(slow_peers_are_waited_for_again_and_again, group_fixture) {
  all_loaded();
  for (std::uint32_t round = 1; round <= 20; ++round) {
    report(2, worker_event::kind::peer_late, epoch(round), errc::timed_out);
    for (const std::int32_t slot : {0, 1, 2, 3}) {
      report(slot, worker_event::kind::quiesced, fence);
    }
  }
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(a_stage_that_died_takes_its_workers_with_it_and_is_replaced,
                        group_fixture) { // V-2, T-3
  all_loaded();
  const auto first = lanes.at(2);
  const auto second = lanes.at(3);
  end(inside().stages[1]);
  BOOST_TEST(first->is_stopped);
  BOOST_TEST(second->is_stopped);
  BOOST_TEST(!lanes.at(0)->is_stopped);
  first->report(worker_event::kind::gone);
  second->report(worker_event::kind::gone);
  settle();
  BOOST_TEST(lanes_made == 6);
  for (const std::int32_t slot : {0, 1}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  report(2, worker_event::kind::loaded);
  report(3, worker_event::kind::loaded);
  BOOST_TEST((status().state == replica_state::running));
  BOOST_TEST(status().restarts == 2U);
  const std::vector<std::uint32_t> expected{1, 1, 2, 2};
  BOOST_TEST(status().incarnations == expected, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(a_spawn_that_a_dying_stage_did_not_hear_is_repeated, group_fixture) {
  all_loaded();
  const auto dead = lanes.at(2);
  const auto stage = inside().stages[1];
  kill_worker_of(2);
  caf::anon_send_exit(stage, caf::exit_reason::kill); // queued before what follows
  dead->report(
      worker_event::kind::gone); // the supervisor spawns before it hears of the stage's end
  lanes.at(3)->report(worker_event::kind::gone);
  settle();
  for (const std::int32_t slot : {0, 1}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  report(2, worker_event::kind::loaded);
  report(3, worker_event::kind::loaded);
  BOOST_TEST((status().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(without_memory_for_channels_the_replica_is_given_up, group_fixture) {
  is_out_of_channels = true;
  settle();
  all_loaded();
  settle();
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason == "no memory for channels");
  BOOST_TEST(executor_begun.empty());
}

BOOST_AUTO_TEST_SUITE_END()
