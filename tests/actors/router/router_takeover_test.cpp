// The router dies, or its whole process does, between any two messages: its successor loses, doubles and alters nothing.
#include "tests/actors/router/router_world.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <functional>
#include <random>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(router_takeover)

namespace {

using step = std::function<void(router_world&)>;

/// Requests that begin and end at different times, with a cancel, a new lane and a replica that is
/// given up.
std::vector<step> script() {
  std::vector<step> steps;
  const auto submit = [&steps](std::uint64_t key) {
    steps.emplace_back([key](router_world& world) { world.submit(key); });
  };
  const auto compute = [&steps](std::int32_t replica) {
    steps.emplace_back([replica](router_world& world) { world.compute(replica); });
  };
  const auto publish = [&steps](std::int32_t replica) {
    steps.emplace_back([replica](router_world& world) { world.publish(replica); });
  };
  for (const std::uint64_t key : {1, 2, 3}) {
    submit(key);
  }
  for (const std::int32_t replica : {0, 1}) {
    compute(replica);
  }
  publish(0);
  compute(0); // two steps of replica 1 are on their way
  compute(1);
  publish(1);
  publish(0);
  submit(4);
  submit(9);
  steps.emplace_back([](router_world& world) { world.cancel(2); });
  compute(1);
  compute(0);
  publish(0);
  steps.emplace_back([](router_world& world) { world.restart(1, false); });
  compute(1);
  publish(1);
  compute(0);
  steps.emplace_back([](router_world& world) { world.restart(0, true); });
  submit(12);
  compute(0);
  compute(1);
  steps.emplace_back([](router_world& world) { world.fail(1); });
  compute(1); // its lane does not know it yet
  compute(0);
  publish(0);
  steps.emplace_back([](router_world& world) { world.end_lane(1); });
  compute(0);
  return steps;
}

using death = std::function<void(router_world&, const step& under_way)>;

/// Before the step, or with its messages; or the process instead of the router.
const std::vector<std::pair<std::string, death>>& deaths() {
  static const std::vector<std::pair<std::string, death>> all{
      {"router, before the step",
       [](router_world& world, const step& under_way) {
         world.kill_router();
         world.respawn_router();
         under_way(world);
       }},
      {"router, with the step's messages",
       [](router_world& world, const step& under_way) {
         world.kill_router();
         under_way(world);
         world.respawn_router();
         world.clients_return();
       }},
      {"router, with the next step's messages, clients late",
       [](router_world& world, const step& under_way) {
         under_way(world);
         world.kill_router();
         world.compute(0);
         world.publish(0);
         world.respawn_router();
       }},
      {"process",
       [](router_world& world, const step& under_way) {
         under_way(world);
         world.restart_process();
         world.clients_return();
       }},
      {"process, clients late",
       [](router_world& world, const step& under_way) {
         under_way(world);
         world.restart_process();
       }},
      {"process, twice",
       [](router_world& world, const step& under_way) {
         under_way(world);
         world.restart_process();
         world.compute(0);
         world.restart_process();
         world.clients_return();
       }},
  };
  return all;
}

int rounds() {
  return std::getenv("VDIST_TEST_LONG") != nullptr ? 20000 : 150;
}

} // namespace

BOOST_AUTO_TEST_CASE(nothing_is_wrong_without_a_death) {
  router_world world;
  for (const auto& each : script()) {
    each(world);
  }
  world.finish();
  BOOST_TEST(world.verdict() == "");
  BOOST_TEST(world.verdict_of_metrics() == "");
  BOOST_TEST(world.journal().stats().finished == 6U);
}

BOOST_AUTO_TEST_CASE(a_death_between_any_two_messages_changes_nothing) { // O-1 to O-4, Q-1, Q-2
  const auto steps = script();
  for (const auto& [name, die] : deaths()) {
    for (std::size_t at = 0; at < steps.size(); ++at) {
      BOOST_TEST_CONTEXT(name << " at step " << at) {
        router_world world;
        for (std::size_t i = 0; i < steps.size(); ++i) {
          i == at ? die(world, steps[i]) : steps[i](world);
        }
        world.finish();
        BOOST_TEST(world.verdict() == "");
        BOOST_TEST(world.verdict_of_metrics() == "");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(any_number_of_deaths_at_random_changes_nothing) { // O-1 to O-4, Q-1, Q-2
  for (int round = 0; round < rounds(); ++round) {
    BOOST_TEST_CONTEXT("seed " << round) {
      std::mt19937_64 random(static_cast<std::uint64_t>(round));
      router_world world;
      std::uint64_t keys = 0;
      for (int i = 0; i < 60; ++i) {
        const auto replica = static_cast<std::int32_t>(random() % 2);
        switch (random() % 16) {
        case 0:
        case 1:
        case 2:
          if (keys < 20) { // else the ledger may forget some
            world.submit(++keys);
          }
          break;
        case 3:
          world.cancel(1 + random() % 20);
          break;
        case 4:
          world.restart(replica, random() % 2 == 0);
          break;
        case 5:
          world.kill_router(); // what follows is lost on it
          world.compute(replica);
          world.publish(replica);
          if (random() % 2 == 0) {
            world.cancel(1 + random() % 20);
          }
          world.respawn_router();
          break;
        case 6:
          if (random() % 4 == 0) {
            world.restart_process();
          }
          break;
        case 7:
          world.clients_return();
          break;
        default:
          random() % 2 == 0 ? world.compute(replica) : world.publish(replica);
          break;
        }
      }
      world.finish();
      BOOST_TEST(world.verdict() == "");
      BOOST_TEST(world.verdict_of_metrics() == "");
    }
  }
}

BOOST_AUTO_TEST_CASE(requests_return_to_the_replica_that_has_their_kv) { // O-3
  router_world world;
  world.keep_kv();
  for (const std::uint64_t key : {1, 2, 3, 4, 5, 6}) {
    world.submit(key);
  }
  world.cancel(1); // it ends first: counting the active ones would now choose differently
  for (const std::int32_t replica : {0, 1}) {
    world.compute(replica);
    world.publish(replica);
  }
  std::vector<std::vector<request_id>> before;
  for (const std::int32_t replica : {0, 1}) {
    before.push_back(world.table().requests_of(replica));
  }
  BOOST_TEST(before[0].size() != before[1].size());
  world.restart_process();
  for (const std::int32_t replica : {0, 1}) {
    BOOST_TEST((world.table().requests_of(replica) == before[static_cast<std::size_t>(replica)]));
  }
  world.clients_return();
  world.finish();
  BOOST_TEST(world.verdict() == "");
  BOOST_TEST(world.verdict_of_metrics() == "");
}

BOOST_AUTO_TEST_SUITE_END()
