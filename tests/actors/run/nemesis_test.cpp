#include "actors/run/nemesis.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

using namespace vdist;
using namespace vdist::actors;

namespace {

using act = failpoint_action;
using target = config::nemesis_choice::target;

const config::nemesis any_worker{
    .every_ms = 1,
    .choices = {{.what = target::worker, .link = {.action = act::throw_error}},
                {.what = target::executor, .link = {.action = act::kill_actor}}},
    .count = 0};
const nemesis_field two_replicas{.ranks = 4, .ranks_per_replica = 2, .kill = {}};

/// Reaches every place once, as workers and executors do.
void step(failpoints& points) {
  for (std::int32_t replica = 0; replica < 2; ++replica) {
    static_cast<void>(points.reach("executor.before_send", {.replica = replica}));
    for (std::int32_t rank = 0; rank < 2; ++rank) {
      for (const char* point : {"worker.step_begin", "worker.step_end"}) {
        try {
          static_cast<void>(points.reach(point, {.replica = replica, .rank = rank}));
        } catch (const failpoint_error&) {
        }
      }
    }
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(nemeses)

BOOST_AUTO_TEST_CASE(the_same_seed_draws_the_same_strikes) { // N-1
  std::set<std::string> drawn;
  for (std::uint64_t number = 0; number < 100; ++number) {
    const auto strike = draw_strike(any_worker, two_replicas, 7, number);
    BOOST_TEST((draw_strike(any_worker, two_replicas, 7, number).rule == strike.rule));
    BOOST_TEST((find_failpoint(strike.rule.point) != nullptr));
    drawn.insert(to_string(strike.rule));
  }
  // Both executors, and four workers at two places each.
  BOOST_TEST(drawn.size() == 10U);
  BOOST_TEST((draw_strike(any_worker, two_replicas, 8, 0).rule
              != draw_strike(any_worker, two_replicas, 7, 0).rule));
}

BOOST_AUTO_TEST_CASE(a_rank_of_the_cluster_is_a_slot_of_its_replica) {
  const config::nemesis third{
      .every_ms = 1,
      .choices = {{.what = target::worker, .rank = 3, .link = {.action = act::throw_error}}}};
  const auto strike = draw_strike(third, two_replicas, 1, 1);
  BOOST_TEST(strike.rank == 3);
  BOOST_TEST(strike.rule.replica.value() == 1);
  BOOST_TEST(strike.rule.rank.value() == 1);
}

BOOST_AUTO_TEST_CASE(strikes_as_often_as_it_may_and_every_hit_is_counted) {
  auto script = any_worker;
  script.count = 5;
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "worker.load"}));
  BOOST_REQUIRE(points.arm(nemesis::reserved_rule()));
  {
    const nemesis striking(script, two_replicas, 7, points, 1);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (points.hits().at(1) < 5 && std::chrono::steady_clock::now() < deadline) {
      step(points);
      std::this_thread::yield();
    }
  }
  BOOST_TEST(points.hits().at(1) == 5U);
  BOOST_TEST(points.log().size() == 5U);
  step(points);
  BOOST_TEST(points.hits().at(1) == 5U);
}

BOOST_AUTO_TEST_CASE(half_of_the_kills_come_from_outside) {
  std::atomic<std::int32_t> killed{-1};
  nemesis_field field = two_replicas;
  field.kill = [&killed](target, std::int32_t rank) {
    killed = rank;
    return true;
  };
  const config::nemesis kills{.every_ms = 1,
                              .choices = {{.what = target::worker, .link = {.action = act::kill9}}},
                              .count = 0};
  int outside = 0;
  for (std::uint64_t number = 0; number < 200; ++number) {
    outside += draw_strike(kills, field, 3, number).is_from_outside ? 1 : 0;
    BOOST_TEST(!draw_strike(kills, two_replicas, 3, number).is_from_outside);
  }
  BOOST_TEST(outside > 60);
  BOOST_TEST(outside < 140);
  // The first that is drawn to come from outside does, is counted, and the next is another.
  std::uint64_t seed = 0;
  while (!draw_strike(kills, field, seed, 0).is_from_outside) {
    ++seed;
  }
  failpoints points;
  BOOST_REQUIRE(points.arm(nemesis::reserved_rule()));
  const nemesis striking(kills, field, seed, points, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (killed < 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  BOOST_TEST(killed >= 0);
  BOOST_TEST(killed < 4);
  BOOST_TEST(points.log().at(0).rank < 2);
  BOOST_TEST((points.log().at(0).action == act::kill9));
}

BOOST_AUTO_TEST_CASE(every_target_has_a_point_and_processes_die_from_outside) {
  nemesis_field field = two_replicas;
  field.kill = [](target, std::int32_t) {
    return true;
  };
  for (const auto what : {target::router, target::scheduler, target::supervisor, target::node}) {
    const config::nemesis script{.every_ms = 1,
                                 .choices = {{.what = what, .link = {.action = act::kill9}}}};
    int outside = 0;
    for (std::uint64_t number = 0; number < 100; ++number) {
      const auto strike = draw_strike(script, field, 5, number);
      BOOST_TEST((find_failpoint(strike.rule.point) != nullptr));
      BOOST_TEST(strike.rule.point == config::facts_of(what).point);
      BOOST_TEST((strike.what == what));
      outside += strike.is_from_outside ? 1 : 0;
    }
    BOOST_TEST((what == target::node ? outside > 20 && outside < 80 : outside == 0));
  }
  const config::nemesis vaults{
      .every_ms = 1, .choices = {{.what = target::vault, .link = {.action = act::kill9}}}};
  BOOST_TEST(draw_strike(vaults, field, 5, 0).is_from_outside);
}

BOOST_AUTO_TEST_CASE(ends_at_once) { // N-3
  auto script = any_worker;
  script.every_ms = 3'600'000;
  failpoints points;
  BOOST_REQUIRE(points.arm(nemesis::reserved_rule()));
  const nemesis striking(script, two_replicas, 7, points, 0);
}

BOOST_AUTO_TEST_SUITE_END()
