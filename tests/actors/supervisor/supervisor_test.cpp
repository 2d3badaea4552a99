// Supervisor, stages and workers together, with lanes that only note what they are told; one
// thread, time by hand.
#include "actors/supervisor/supervisor.hpp"

#include "tests/support/actor_fixture.hpp"

#include "actors/executor/executor.hpp"
#include "actors/gateway/epoch_wiring.hpp"
#include "actors/stage/stage.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <optional>
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

  void retire() override { is_retired = true; }

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
  bool is_retired = false;
  epoch prepared;
  epoch begun;

private:
  lane_request wanted_;
};

/// What the supervisor's surroundings were told; shared with the actors that stand for them.
struct surroundings {
  std::vector<replica_changed> states;
  std::vector<epoch> executor_begun;
  int executors_ended = 0;
  std::optional<step_death> death; // of the newest of them
  bool has_late_writers = false;   // the same
  std::vector<epoch> lifted;
};

router_actor::behavior_type fake_router(const std::shared_ptr<surroundings>& around) {
  return {
      [](const submit&) { return submit_reply{}; },
      [](const cancel&) {},
      [](const step_tokens&) {},
      [around](const replica_changed& message) { around->states.push_back(message); },
      [](const get_router_status&) { return router_status{}; },
      [](const drain&) { return router_status{}; },
      [](const drain_replica&) { return router_status{}; },
  };
}

executor_actor::behavior_type fake_executor(const std::shared_ptr<surroundings>& around) {
  return {
      [](const fence_epoch&) {},
      [around](const begin_epoch& message) {
        around->executor_begun.push_back(message.now);
        around->death = message.death;
        around->has_late_writers = message.has_late_writers;
      },
      [around](const writers_gone& message) { around->lifted.push_back(message.now); },
  };
}

/// Two stages of two workers.
struct group_fixture : actor_fixture {
  explicit group_fixture(std::int32_t max_restarts = 3,
                         const supervisor::group_state& found = {},
                         duration backoff = {},
                         std::int32_t poison_strikes = 0) {
    router = actors().spawn(fake_router, around);
    replica_environment environment{
        .stage_of_slot = {0, 0, 1, 1},
        .recovery = {.slots = 4,
                     .max_restarts = max_restarts,
                     .restart_backoff = backoff,
                     .poison_strikes = poison_strikes},
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
              caf::actor_cast<caf::actor>(executor)->attach_functor(
                  [told = around](const caf::error&) { ++told->executors_ended; });
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
        .raise_fence =
            [this](epoch now) {
              fence = now;
              time.advance(1us); // so that marks of the trace differ
            },
        .on_given_up =
            [this](std::int32_t slot, const std::string& reason) {
              states_at_loss = around->states.size();
              given_up_slots.push_back(slot);
              return reason + "; nobody is left";
            },
        .group = [found] { return found; },
        .on_recovery = [this](const supervisor::recovery_mark& mark) { marks.push_back(mark); },
        .end_lane = [this](const std::string&) { ++lanes_ended; },
        .time = &time};
    supervisor = actors().spawn(make_supervisor, std::move(environment), router);
  }

  void start() { tell(supervisor, start_replica{}); }

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
  int lanes_ended = 0;
  std::shared_ptr<surroundings> around = std::make_shared<surroundings>();
  std::vector<replica_changed>& states = around->states;
  std::vector<std::int32_t> given_up_slots;
  std::size_t states_at_loss = 0;
  std::vector<epoch>& executor_begun = around->executor_begun;
  std::map<std::uint32_t, std::vector<std::uint32_t>> wired; // epoch → incarnations
  std::vector<supervisor::recovery_mark> marks;
  epoch fence;
  router_actor router;
  executor_actor executor;
  supervisor_actor supervisor;
};

struct started_group : group_fixture {
  started_group() { start(); }
};

struct impatient_group : group_fixture {
  impatient_group() : group_fixture(1) { start(); }
};

/// The same, with requests that may be to blame.
struct judging_group : group_fixture {
  judging_group() : group_fixture(1, {}, {}, 1) { start(); }
};

struct patient_group : group_fixture {
  patient_group() : group_fixture(100, {}, 30ms) { start(); }
};

/// What a successor finds: two living workers, a place whose worker has ended, and a dying one.
struct found_group : group_fixture {
  found_group()
      : group_fixture(3,
                      {.first = epoch(9),
                       .slots = {{supervisor::slot_start::kind::living, incarnation(4)},
                                 {supervisor::slot_start::kind::living, incarnation(2)},
                                 {supervisor::slot_start::kind::absent, incarnation(3)},
                                 {supervisor::slot_start::kind::dying, incarnation(5)}}}) {}

  /// The end of a worker that this supervisor never had.
  void hear_the_end_of(std::int32_t slot, incarnation worker) {
    tell(supervisor,
         worker_event{.what = worker_event::kind::gone, .slot = slot, .worker = worker});
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(group_of_workers)

BOOST_FIXTURE_TEST_CASE(ends_the_live_incarnation_that_an_operator_names, started_group) {
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

BOOST_FIXTURE_TEST_CASE(begins_its_first_epoch_when_all_have_loaded, started_group) {
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

BOOST_FIXTURE_TEST_CASE(replaces_a_worker_that_was_killed, started_group) {
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

BOOST_FIXTURE_TEST_CASE(a_successor_does_not_wait_for_what_its_predecessor_still_writes,
                        started_group) {
  all_loaded();
  const auto dead = lanes.at(2);
  report(2, worker_event::kind::failed);
  BOOST_TEST(lanes_made == 4, "it may still act");
  dead->report(worker_event::kind::halted);
  settle();
  BOOST_TEST(lanes_made == 5);
  for (const std::int32_t slot : {0, 1, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  report(2, worker_event::kind::loaded);
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(around->has_late_writers);
  BOOST_TEST(around->lifted.empty());
  dead->report(worker_event::kind::gone);
  settle();
  BOOST_TEST((around->lifted == std::vector{epoch(2)}));
  kill_worker_of(0);
  mend(0);
  BOOST_TEST(!around->has_late_writers, "a thread is gone at once");
  BOOST_TEST(around->lifted.size() == 1U);
}

/// `halted` goes past the actors, so it may be the first that is heard.
BOOST_FIXTURE_TEST_CASE(who_has_halted_has_died, started_group) { // V-4
  all_loaded();
  const auto dead = lanes.at(1);
  report(1, worker_event::kind::halted);
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST(lanes_made == 5);
  BOOST_TEST((lanes.at(1)->wanted().worker == incarnation(2)));
  dead->report(worker_event::kind::failed); // of the past by now
  settle();
  BOOST_TEST(dead->is_stopped);
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST(!lanes.at(1)->is_stopped);
}

/// One slot of each stage, in one epoch.
BOOST_FIXTURE_TEST_CASE(replaces_workers_as_planned, started_group) { // R-10, V-9
  all_loaded();
  const auto first = lanes.at(1);
  const auto second = lanes.at(2);
  tell(supervisor, replace_workers{{0, 7, 0, 0}});
  BOOST_TEST((fence == epoch(0)), "it is none of its workers");
  tell(supervisor, replace_workers{{0, 1, 1, 0}});
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST((states.back().state == replica_state::recovering));
  for (auto& [slot, lane] : lanes) {
    BOOST_TEST((lane->prepared == epoch(2)));
    BOOST_TEST(!lane->is_retired);
  }
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, epoch(2));
  }
  BOOST_TEST((first->is_retired && second->is_retired));
  BOOST_TEST((!lanes.at(0)->is_retired && !lanes.at(3)->is_retired));
  BOOST_TEST(lanes_made == 4, "R-2: nobody comes before they have gone");
  tell(supervisor, replace_workers{{1, 0, 0, 0}});
  BOOST_TEST((fence == epoch(2)), "not during a recovery");
  for (const auto& lane : {first, second}) {
    lane->report(worker_event::kind::gone);
    settle();
  }
  BOOST_TEST(lanes_made == 6);
  for (const std::int32_t slot : {1, 2}) {
    BOOST_TEST((lanes.at(slot)->wanted().worker == incarnation(2)));
    report(slot, worker_event::kind::loaded);
  }
  BOOST_TEST((executor_begun == std::vector{epoch(1), epoch(2)}));
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(status().restarts == 0U);
  kill_worker_of(1); // a death of the successor is one of the successor
  BOOST_TEST((fence == epoch(3)));
  BOOST_TEST(status().worker_states[1] == "dying");
}

BOOST_FIXTURE_TEST_CASE(a_worker_that_does_not_end_by_order_is_stopped, started_group) {
  all_loaded();
  tell(supervisor, replace_workers{{1, 0, 0, 0}});
  const auto stubborn = lanes.at(0);
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, epoch(2));
  }
  BOOST_TEST(!stubborn->is_stopped);
  advance(2s);
  BOOST_TEST(stubborn->is_stopped);
  stubborn->report(worker_event::kind::gone);
  settle();
  report(0, worker_event::kind::loaded);
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(status().restarts == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_failure_and_the_death_after_it_are_one_fault, started_group) { // T-2
  all_loaded();
  report(1, worker_event::kind::failed, epoch(1), errc::internal);
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST(lanes.at(1)->is_stopped, "a worker that failed ends");
  mend(1);
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(status().restarts == 1U);
  BOOST_TEST(status().incarnations[1] == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_new_epoch_says_what_the_steps_before_it_died_of, started_group) { // V-10
  all_loaded();
  BOOST_TEST(!around->death.has_value());
  kill_worker_of(2);
  mend(2);
  BOOST_REQUIRE(around->death.has_value());
  BOOST_TEST(around->death->slot == 2);
  BOOST_TEST(around->death->cause == "its actor died");
  tell(supervisor, end_worker{2}); // an operator's wish
  mend(2);
  BOOST_TEST((executor_begun.back() == epoch(3)));
  BOOST_TEST(!around->death.has_value());
  tell(supervisor, step_failed{epoch(3), "ranks disagree"});
  for (std::int32_t slot = 0; slot < 4; ++slot) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST((executor_begun.back() == epoch(4)));
  BOOST_TEST(!around->death.has_value(), "nobody died of it");
}

BOOST_FIXTURE_TEST_CASE(deaths_of_culprits_are_not_the_workers, impatient_group) {
  all_loaded();
  for (int death = 0; death < 4; ++death) { // one is allowed
    kill_worker_of(0);
    mend(0);
    tell(supervisor, culprit_found{1, true});
    BOOST_TEST((states.back().state == replica_state::running));
  }
}

BOOST_FIXTURE_TEST_CASE(deaths_of_the_acquitted_are_the_workers, judging_group) {
  all_loaded();
  for (int death = 0; death < 2; ++death) {
    kill_worker_of(0);
    mend(0);
    tell(supervisor, suspicion_over{fence, true});
    BOOST_TEST((states.back().state == replica_state::running));
  }
  kill_worker_of(0);
  BOOST_TEST((states.back().state == replica_state::failed));
}

BOOST_FIXTURE_TEST_CASE(deaths_that_are_not_judged_do_not_count, judging_group) {
  all_loaded();
  for (int death = 0; death < 3; ++death) {
    kill_worker_of(0);
    mend(0);
    tell(supervisor, suspicion_over{fence, death == 0});
    BOOST_TEST((states.back().state == replica_state::running));
  }
}

BOOST_FIXTURE_TEST_CASE(gone_may_be_heard_before_the_death, started_group) {
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

BOOST_FIXTURE_TEST_CASE(events_of_the_past_change_nothing, started_group) {
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

BOOST_FIXTURE_TEST_CASE(two_deaths_are_mended_in_one_epoch_or_the_next, started_group) {
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

BOOST_FIXTURE_TEST_CASE(late_peers_begin_a_new_epoch_without_a_death, started_group) {
  all_loaded();
  report(2, worker_event::kind::peer_late, epoch(1), errc::timed_out);
  BOOST_TEST((fence == epoch(2)));
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST((executor_begun.back() == epoch(2)));
  BOOST_TEST(status().restarts == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_failed_step_begins_a_new_epoch_once, started_group) {
  all_loaded();
  tell(supervisor, step_failed{epoch(1), "ranks disagree"});
  tell(supervisor, step_failed{epoch(1), "ranks disagree"});
  BOOST_TEST((fence == epoch(2)));
}

BOOST_FIXTURE_TEST_CASE(a_survivor_that_does_not_stop_is_killed, started_group) {
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

BOOST_FIXTURE_TEST_CASE(a_thread_that_never_ends_fails_the_replica, started_group) {
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

BOOST_FIXTURE_TEST_CASE(giving_up_ends_the_executor_and_its_lane_once, impatient_group) { // V-8
  all_loaded();
  kill_worker_of(1);
  mend(1);
  BOOST_TEST(around->executors_ended == 0);
  kill_worker_of(1); // a step may be in flight
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST((fence == epoch(4)), "above the epoch that was to come: every wait of the lane ends");
  BOOST_TEST(around->executors_ended == 1);
  BOOST_TEST(lanes_ended == 1);
  const auto told = states.size();
  tell(supervisor, step_failed{epoch(3), "late"});
  report(0, worker_event::kind::failed, epoch(3), errc::internal);
  advance(1s);
  BOOST_TEST(states.size() == told);
  BOOST_TEST(around->executors_ended == 1);
  BOOST_TEST(lanes_ended == 1);
  BOOST_TEST(executors == 1);
}

BOOST_FIXTURE_TEST_CASE(a_lane_outlives_its_executor_until_it_is_ended, started_group) { // V-8
  all_loaded();
  for (int round = 0; round < 4; ++round) {
    end(executor);
    for (const std::int32_t slot : {0, 1, 2, 3}) {
      report(slot, worker_event::kind::quiesced, fence);
    }
  }
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(around->executors_ended == 4, "nobody is there to be ended");
  BOOST_TEST(lanes_ended == 1);
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

BOOST_FIXTURE_TEST_CASE(a_load_that_cannot_succeed_is_given_up_at_once, started_group) {
  report(0, worker_event::kind::failed, {}, errc::corrupt);
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason == "told; nobody is left");
  BOOST_TEST(lanes_made == 4, "nobody is started again");
  const std::vector<std::int32_t> first_slot{0};
  BOOST_TEST(given_up_slots == first_slot, boost::test_tools::per_element());
  BOOST_TEST(states_at_loss + 1 == states.size(), "the owner hears of it before the router");
}

BOOST_FIXTURE_TEST_CASE(a_load_that_may_succeed_is_tried_again, started_group) {
  const auto first = lanes.at(0);
  report(0, worker_event::kind::failed, {}, errc::internal);
  first->report(worker_event::kind::gone);
  settle();
  all_loaded();
  BOOST_TEST((states.back().state == replica_state::running));
  BOOST_TEST(status().incarnations[0] == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_lane_that_cannot_be_made_is_tried_again, started_group) {
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

BOOST_FIXTURE_TEST_CASE(an_executor_that_died_is_replaced_at_the_next_epoch, started_group) { // V-2
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

BOOST_FIXTURE_TEST_CASE(an_executor_that_dies_during_a_recovery_is_replaced_too, started_group) {
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

BOOST_FIXTURE_TEST_CASE(executors_that_always_die_fail_the_replica, started_group) {
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

BOOST_FIXTURE_TEST_CASE(steps_that_always_fail_fail_the_replica, started_group) {
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

BOOST_FIXTURE_TEST_CASE(v11_a_lost_device_ends_the_replica_for_its_slot, started_group) {
  all_loaded();
  report(2, worker_event::kind::failed, epoch(1), errc::device_failed);
  BOOST_TEST((status().state == replica_state::recovering), "another process may use it");
  mend(2);
  BOOST_TEST((status().state == replica_state::running));
  // From whoever hears of it, about an incarnation that nobody names.
  tell(supervisor,
       worker_event{.what = worker_event::kind::failed,
                    .slot = 1,
                    .status = errc::device_lost,
                    .text = "device 1 must not be used any more"});
  BOOST_TEST((status().state == replica_state::failed));
  const std::vector<std::int32_t> its_slot{1};
  BOOST_TEST(given_up_slots == its_slot, boost::test_tools::per_element());
}

/// It goes past the actors: the failure itself may still be on its way.
BOOST_FIXTURE_TEST_CASE(v11_a_lost_device_is_not_tried_again_whatever_is_heard_first,
                        started_group) {
  all_loaded();
  tell(supervisor,
       worker_event{.what = worker_event::kind::gone,
                    .slot = 2,
                    .worker = incarnation(1),
                    .status = errc::device_lost,
                    .text = "its device must not be used any more"});
  BOOST_TEST((status().state == replica_state::failed));
  BOOST_TEST(status().restarts == 0U);
}

BOOST_FIXTURE_TEST_CASE(v11_a_rank_that_a_majority_names_is_replaced_and_at_last_given_up,
                        started_group) {
  all_loaded();
  for (int round = 0; round < 2; ++round) {
    const auto victim = lanes.at(3);
    tell(supervisor, ranks_disagree{{3}, true, "ranks of stage 1 disagree"});
    BOOST_TEST(victim->is_stopped);
    tell(supervisor, step_failed{fence, "ranks of stage 1 disagree"});
    mend(3);
    BOOST_TEST((status().state == replica_state::running));
  }
  BOOST_TEST(status().incarnations[3] == 3U);
  tell(supervisor, ranks_disagree{{3}, true, "ranks of stage 1 disagree"});
  BOOST_TEST((status().state == replica_state::failed));
  const std::vector<std::int32_t> its_slot{3};
  BOOST_TEST(given_up_slots == its_slot, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(v11_two_ranks_that_disagree_once_are_left_alone, started_group) {
  all_loaded();
  tell(supervisor, ranks_disagree{{0, 1}, false, "ranks of stage 0 disagree"});
  tell(supervisor, step_failed{epoch(1), "ranks of stage 0 disagree"});
  for (const std::int32_t slot : {0, 1, 2, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST((status().state == replica_state::running));
  BOOST_TEST(status().restarts == 0U);
}

BOOST_FIXTURE_TEST_CASE(slow_peers_are_waited_for_again_and_again, started_group) {
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
                        started_group) { // V-2, T-3
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

BOOST_FIXTURE_TEST_CASE(a_spawn_that_a_dying_stage_did_not_hear_is_repeated, started_group) {
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

BOOST_FIXTURE_TEST_CASE(without_memory_for_channels_the_replica_is_given_up, started_group) {
  is_out_of_channels = true;
  settle();
  all_loaded();
  settle();
  BOOST_TEST((states.back().state == replica_state::failed));
  BOOST_TEST(states.back().reason == "no memory for channels; nobody is left");
  const std::vector<std::int32_t> nobody{-1};
  BOOST_TEST(given_up_slots == nobody, boost::test_tools::per_element());
  BOOST_TEST(executor_begun.empty());
}

BOOST_FIXTURE_TEST_CASE(the_second_replacement_waits_as_long_as_the_back_off_and_no_longer,
                        patient_group) { // R-8, V-3
  all_loaded();
  kill_worker_of(1);
  mend(1);
  BOOST_TEST(lanes_made == 5, "the first one is not delayed");
  const auto dead = lanes.at(1);
  kill_worker_of(1);
  dead->report(worker_event::kind::gone);
  advance(29ms);
  BOOST_TEST(lanes_made == 5);
  BOOST_TEST(status().worker_states[1] == "resting");
  advance(1ms);
  BOOST_TEST(lanes_made == 6);
  BOOST_TEST(status().incarnations[1] == 3U);
}

BOOST_FIXTURE_TEST_CASE(one_timer_is_set_whatever_happens, patient_group) { // V-3
  const auto& clock = dynamic_cast<caf::scheduler::test_coordinator&>(actors().scheduler()).clock();
  all_loaded();
  for (int round = 0; round < 6; ++round) {
    const auto dead = lanes.at(1);
    kill_worker_of(1);
    dead->report(worker_event::kind::gone);
    advance(5s);
    for (const std::int32_t slot : {0, 2, 3}) {
      report(slot, worker_event::kind::quiesced, fence);
    }
    report(1, worker_event::kind::loaded);
  }
  BOOST_TEST((status().state == replica_state::running));
  advance(1s);
  BOOST_TEST(clock.schedule().size() == 1U, "those that were overtaken are gone");
}

BOOST_FIXTURE_TEST_CASE(a_worker_that_is_known_to_be_dying_is_fenced_off_before_its_end,
                        started_group) { // V-4, R-2
  all_loaded();
  const auto dead = lanes.at(2);
  report(2, worker_event::kind::failed, epoch(1), errc::closed);
  BOOST_TEST((fence == epoch(2)));
  BOOST_TEST(status().worker_states[2] == "dying");
  for (const std::int32_t slot : {0, 1, 3}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  BOOST_TEST(lanes_made == 4, "it may still act");
  dead->report(worker_event::kind::gone);
  settle();
  BOOST_TEST(lanes_made == 5);
  report(2, worker_event::kind::loaded);
  BOOST_TEST((status().state == replica_state::running));
  BOOST_TEST(status().restarts == 1U);
}

BOOST_FIXTURE_TEST_CASE(giving_up_ends_the_workers_of_the_replica, impatient_group) {
  all_loaded();
  kill_worker_of(1);
  mend(1);
  BOOST_TEST(!lanes.at(0)->is_stopped);
  kill_worker_of(1);
  BOOST_TEST((status().state == replica_state::failed));
  for (auto& [slot, lane] : lanes) {
    BOOST_TEST(lane->is_stopped);
    lane->report(worker_event::kind::gone);
  }
  settle();
  BOOST_TEST(status().worker_states == std::vector<std::string>(4, "absent"),
             boost::test_tools::per_element());
  advance(61s);
  BOOST_TEST(lanes_made == 5, "nobody is started again");
}

BOOST_FIXTURE_TEST_CASE(the_trace_follows_a_recovery, started_group) { // M-1
  all_loaded();
  marks.clear();
  kill_worker_of(1);
  mend(1);
  const std::vector<supervisor::recovery_point> expected{supervisor::recovery_point::detected,
                                                         supervisor::recovery_point::fenced,
                                                         supervisor::recovery_point::quiesced,
                                                         supervisor::recovery_point::quiesced,
                                                         supervisor::recovery_point::quiesced,
                                                         supervisor::recovery_point::spawned,
                                                         supervisor::recovery_point::attached,
                                                         supervisor::recovery_point::begun};
  BOOST_REQUIRE(marks.size() == expected.size());
  for (std::size_t index = 0; index < marks.size(); ++index) {
    BOOST_TEST((marks[index].what == expected[index]));
    BOOST_TEST((marks[index].now == epoch(2)));
    BOOST_TEST((index == 0 || marks[index - 1].at <= marks[index].at));
  }
  BOOST_TEST((marks[1].at - marks[0].at == 1us), "fenced is when the fence was up");
}

BOOST_FIXTURE_TEST_CASE(a_successor_goes_on_with_the_workers_that_it_finds, found_group) {
  start();
  BOOST_TEST((fence == epoch(9)));
  BOOST_TEST((states.back().state == replica_state::recovering));
  for (const std::int32_t slot : {0, 1}) {
    const auto& lane = *lanes.at(slot);
    BOOST_TEST(lane.wanted().is_living);
    BOOST_TEST(!lane.is_loading, "it has its weights");
    BOOST_TEST((lane.prepared == epoch(9)));
  }
  BOOST_TEST((lanes.at(2)->wanted().worker == incarnation(4)));
  BOOST_TEST(lanes.at(2)->is_loading);
  BOOST_TEST(lanes.count(3) == 0U, "R-2: its predecessor may still act");
  hear_the_end_of(3, incarnation(5));
  BOOST_TEST((lanes.at(3)->wanted().worker == incarnation(6)));
  for (const std::int32_t slot : {0, 1}) {
    report(slot, worker_event::kind::quiesced, fence);
  }
  for (const std::int32_t slot : {2, 3}) {
    BOOST_TEST(executor_begun.empty());
    report(slot, worker_event::kind::loaded);
  }
  BOOST_TEST((executor_begun == std::vector{epoch(9)}));
  const std::vector<std::uint32_t> expected{4, 2, 4, 6};
  BOOST_TEST(wired.at(9) == expected, boost::test_tools::per_element());
  BOOST_TEST((states.back().state == replica_state::running));
}

BOOST_FIXTURE_TEST_CASE(an_adopted_worker_that_died_is_replaced_like_any_other,
                        found_group) {
  start();
  const auto dead = lanes.at(0);
  report(0, worker_event::kind::failed, epoch(9), errc::closed);
  BOOST_TEST(dead->is_stopped);
  BOOST_TEST((fence == epoch(10)));
  BOOST_TEST((lanes.at(1)->prepared == epoch(10)), "asked again");
  dead->report(worker_event::kind::gone);
  settle();
  BOOST_TEST((lanes.at(0)->wanted().worker == incarnation(5)));
  BOOST_TEST(!lanes.at(0)->wanted().is_living);
  BOOST_TEST(lanes.at(0)->is_loading);
}

BOOST_FIXTURE_TEST_CASE(an_adoption_that_a_dying_stage_did_not_hear_ends_the_worker,
                        found_group) { // V-5
  const auto stage = actors().spawn(make_stage, stage_config{});
  end(stage);
  inside().stages[0] = stage;
  start();
  for (const std::int32_t slot : {0, 1}) {
    BOOST_TEST(lanes.at(slot)->wanted().is_living);
    BOOST_TEST(lanes.at(slot)->is_stopped, "told to end, so that its end is heard");
    BOOST_TEST(status().worker_states[static_cast<std::size_t>(slot)] == "dying");
    const auto dead = lanes.at(slot);
    dead->report(worker_event::kind::gone);
    settle();
    BOOST_TEST((lanes.at(slot)->wanted().worker == dead->wanted().worker.next()));
    BOOST_TEST(!lanes.at(slot)->wanted().is_living);
  }
}

BOOST_AUTO_TEST_SUITE_END()
