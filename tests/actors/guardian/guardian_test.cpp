// The guardian alone over children that do nothing, and the cluster that it keeps alive while everybody in it dies between
// any two messages.
#include "actors/guardian/guardian.hpp"

#include "tests/actors/guardian/guardian_world.hpp"
#include "tests/support/actor_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/event_based_actor.hpp>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

caf::behavior idle(caf::event_based_actor* self) {
  self->set_exception_handler(
      [](std::exception_ptr&) -> caf::error { return caf::exit_reason::unhandled_exception; });
  return {[](int) {
    throw std::runtime_error("a defect");
  }};
}

/// Two children; what the guardian does with them, in order.
struct guarded_children : actor_fixture {
  guarded_children() {
    guardian_config config{.limits = {.restarts_max = 3, .window = 60s, .backoff = 50ms},
                           .time = &time};
    for (const std::string name : {"a", "b"}) {
      config.children.push_back({.name = name,
                                 .spawn =
                                     [this, name] {
                                       if (spawns_to_fail > 0) {
                                         --spawns_to_fail;
                                         throw std::runtime_error("no memory");
                                       }
                                       told.push_back("spawn " + name);
                                       auto& handle = name == "a" ? a : b;
                                       handle = is_over ? caf::actor() : actors().spawn(idle);
                                       return caf::actor_cast<caf::strong_actor_ptr>(handle);
                                     },
                                 .on_replaced = [this, name] { told.push_back("tell " + name); },
                                 .on_given_up =
                                     [this, name](const std::string&) {
                                       told.push_back("lose " + name);
                                     }});
    }
    guardian = actors().spawn(make_guardian, std::move(config));
    tell(guardian, start_children{});
  }

  ~guarded_children() {
    end(guardian);
    end(a);
    end(b);
  }

  std::vector<std::uint64_t> restarts() {
    return ask<guardian_status>(guardian, get_guardian_status{}).restarts;
  }

  std::vector<std::string> told;
  int spawns_to_fail = 0;
  bool is_over = false;
  caf::actor a;
  caf::actor b;
  guardian_actor guardian;
};

using words = std::vector<std::string>;

void check_deaths(const std::vector<death>& deaths, std::uint64_t seed = 0, duration pause = {}) {
  guardian_world world(seed, pause);
  world.run(deaths);
  const auto verdict = world.verdict();
  std::string what = "seed " + std::to_string(seed) + ": ";
  for (const auto& one : deaths) {
    what += std::string(to_string(one.who)) + " at " + std::to_string(one.at) + ", ";
  }
  BOOST_REQUIRE_MESSAGE(verdict.empty(), what << verdict);
}

std::size_t messages_of_a_quiet_run() {
  guardian_world world;
  return world.run({});
}

constexpr victim everybody[] = {victim::router,
                                victim::scheduler,
                                victim::supervisor,
                                victim::stage,
                                victim::executor,
                                victim::worker};

/// 0: actors take turns; the others: in any order.
constexpr std::uint64_t orders = 6;

/// Pairs are many: every third moment, all of them with VDIST_TEST_LONG=1.
std::size_t stride() {
  return std::getenv("VDIST_TEST_LONG") != nullptr ? 1 : 3;
}

} // namespace

BOOST_AUTO_TEST_SUITE(guardian_rules)

BOOST_FIXTURE_TEST_CASE(replaces_the_one_that_ends_whatever_the_reason, guarded_children) { // G-1
  BOOST_TEST(told == (words{"spawn a", "spawn b"}), boost::test_tools::per_element());
  told.clear();
  const auto other = b;
  end(a);
  BOOST_TEST(told == (words{"spawn a", "tell a"}), boost::test_tools::per_element());
  BOOST_TEST((other == b), "the other one goes on");
  told.clear();
  end(b, caf::exit_reason::user_shutdown);
  BOOST_TEST(told == (words{"spawn b", "tell b"}), boost::test_tools::per_element());
  advance(61s);
  told.clear();
  tell(a, 7);
  BOOST_TEST(told == (words{"spawn a", "tell a"}), boost::test_tools::per_element());
  BOOST_TEST(restarts() == (std::vector<std::uint64_t>{2, 1}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(pauses_longer_every_time_and_gives_up, guarded_children) { // G-2
  told.clear();
  end(a);
  BOOST_TEST(told == (words{"spawn a", "tell a"}), boost::test_tools::per_element());
  end(a);
  BOOST_TEST(told.size() == 2U);
  advance(49ms);
  BOOST_TEST(told.size() == 2U);
  advance(1ms);
  BOOST_TEST(told.size() == 4U);
  end(a);
  advance(99ms);
  BOOST_TEST(told.size() == 4U);
  advance(1ms);
  BOOST_TEST(told.size() == 6U);
  end(a);
  BOOST_TEST(told.back() == "lose a");
  advance(100s);
  BOOST_TEST(told.size() == 7U, "it stays dead");
  end(b);
  BOOST_TEST(told.back() == "tell b", "others are not affected");
}

BOOST_FIXTURE_TEST_CASE(forgets_deaths_of_long_ago, guarded_children) { // G-2
  for (int round = 0; round < 10; ++round) {
    told.clear();
    end(a);
    BOOST_TEST(told == (words{"spawn a", "tell a"}), boost::test_tools::per_element());
    advance(61s);
  }
}

BOOST_FIXTURE_TEST_CASE(counts_a_failed_spawn_as_a_death, guarded_children) { // G-3
  told.clear();
  spawns_to_fail = 1;
  end(a);
  BOOST_TEST(told.empty());
  advance(50ms);
  BOOST_TEST(told == (words{"spawn a", "tell a"}), boost::test_tools::per_element());
  told.clear();
  spawns_to_fail = 100;
  end(b);
  advance(50ms);
  advance(100ms);
  BOOST_TEST(told == (words{"lose b"}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(lets_go_of_a_child_that_needs_no_successor, guarded_children) {
  is_over = true;
  told.clear();
  end(a);
  BOOST_TEST(told == (words{"spawn a"}), boost::test_tools::per_element());
  advance(100s);
  BOOST_TEST(told.size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(guarded_cluster)

BOOST_AUTO_TEST_CASE(nobody_dies) {
  guardian_world world;
  world.run({});
  BOOST_TEST(world.verdict() == "");
  BOOST_TEST(world.lanes_made() == 4);
}

/// At every moment of a run, and well behind its end.
BOOST_AUTO_TEST_CASE(each_of_them_dies_between_any_two_messages) { // G-1
  const auto messages = messages_of_a_quiet_run();
  BOOST_TEST(messages > 50U);
  for (const auto who : everybody) {
    for (std::size_t at = 0; at < messages; ++at) {
      for (std::uint64_t seed = 0; seed < orders; ++seed) {
        check_deaths({{at, who}}, seed);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_control_actor_that_dies_costs_no_worker) { // V-6, H-1
  const auto messages = messages_of_a_quiet_run();
  for (const auto who : {victim::router, victim::scheduler, victim::supervisor}) {
    for (std::size_t at = 40; at < messages; ++at) {
      for (std::uint64_t seed = 0; seed < orders; ++seed) {
        guardian_world world(seed);
        world.run({{at, who}});
        BOOST_TEST(world.verdict() == "");
        BOOST_TEST(world.lanes_made() == 4, to_string(who) << " at " << at << ", seed " << seed);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(two_die_at_once) {
  const auto messages = messages_of_a_quiet_run();
  for (const auto first : everybody) {
    for (const auto second : everybody) {
      for (std::size_t at = 0; at < messages; at += stride()) {
        check_deaths({{at, first}, {at, second}}, at % orders);
      }
    }
  }
}

/// The second strikes while the first is being replaced, or the group mended.
BOOST_AUTO_TEST_CASE(one_dies_during_the_recovery_of_another) {
  const auto messages = messages_of_a_quiet_run();
  for (const auto first : everybody) {
    for (const auto second : everybody) {
      for (std::size_t at = 0; at < messages; at += 5 * stride()) {
        for (const std::size_t later : {1, 2, 3, 5, 8, 13, 21}) {
          check_deaths({{at, first}, {at + later, second}}, (at + later) % orders);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(one_of_them_dies_again_and_again) {
  for (const auto who : everybody) {
    for (const std::size_t pause : {1, 2, 3, 7, 11}) {
      std::vector<death> deaths;
      for (std::size_t i = 0; i < 12; ++i) {
        deaths.push_back({40 + i * pause, who});
      }
      for (std::uint64_t seed = 0; seed < orders; ++seed) {
        check_deaths(deaths, seed);
        check_deaths(deaths, seed, 20ms);
      }
    }
  }
}

/// VDIST_TEST_SEED replays a failure, VDIST_TEST_ROUNDS makes it longer.
BOOST_AUTO_TEST_CASE(any_of_them_die_at_any_time) {
  const char* seed_text = std::getenv("VDIST_TEST_SEED");
  const char* rounds_text = std::getenv("VDIST_TEST_ROUNDS");
  const auto first = seed_text != nullptr ? std::stoul(seed_text) : 1UL;
  const auto rounds = rounds_text != nullptr ? std::stoul(rounds_text)
                      : seed_text != nullptr ? 1UL
                                             : 3000UL;
  for (auto seed = first; seed < first + rounds; ++seed) {
    BOOST_TEST_CONTEXT("VDIST_TEST_SEED=" << seed) {
      std::mt19937_64 random(seed);
      std::vector<death> deaths(1 + random() % 8);
      for (auto& one : deaths) {
        one = {random() % 150, everybody[random() % std::size(everybody)]};
      }
      std::sort(deaths.begin(), deaths.end(), [](const death& left, const death& right) {
        return left.at < right.at;
      });
      check_deaths(deaths, seed, random() % 2 == 0 ? 0ms : 20ms);
    }
  }
}

BOOST_AUTO_TEST_CASE(one_of_them_fails_at_its_point) { // O-5, S-2, T-4, V-7
  const auto log_line = [](const char* point, failpoint_action action, std::uint32_t nth) {
    return std::string(point) + " " + std::string(to_string(action)) + " " + std::to_string(nth);
  };
  for (const char* point :
       {"router.submit", "router.tokens", "scheduler.add", "supervisor.event", "stage.event"}) {
    for (const auto action : {failpoint_action::kill_actor, failpoint_action::throw_error}) {
      for (std::uint32_t nth = 1; nth <= 4; ++nth) {
        for (const std::uint32_t count : {1U, 3U}) {
          guardian_world world;
          BOOST_REQUIRE(
              world.points.arm({.point = point, .action = action, .count = count, .nth = nth}));
          world.run({});
          BOOST_TEST(world.verdict() == "", log_line(point, action, nth));
          BOOST_TEST(world.points.hits().front() > 0U, log_line(point, action, nth));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
