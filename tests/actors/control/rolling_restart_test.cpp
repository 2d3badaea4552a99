// A rolling restart over a cluster that says what a test wants; time by hand.
#include "actors/control/rolling_restart.hpp"

#include "tests/actors/control/fake_cluster.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

using namespace vdist;
using namespace vdist::control;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

struct rolling_fixture {
  rolling_fixture() { cluster.status.processes[2].incarnation = 1; }

  result<void> roll(const std::string& target, bool drains = false) {
    const rolling_settings settings{
        .target = target, .drains = drains, .part_deadline = 60s, .claim = 77};
    return run_rolling(settings,
                       {.ask = [this](const control_request& request) -> result<std::string> {
                          if (silent_for > 0) {
                            --silent_for;
                            return fail(errc::not_found, "nobody is there");
                          }
                          return answer(cluster, encode(request));
                        },
                        .rest =
                            [this](duration patience) {
                              time.advance(patience);
                              ++rests;
                              if (on_rest) {
                                on_rest();
                              }
                              return is_interrupted;
                            },
                        .write =
                            [this](std::string_view line) {
                              text += line;
                              return true;
                            },
                        .time = &time});
  }

  /// Targets in the order of their first order; "none" is the end of the claim.
  std::vector<std::string> targets() const {
    std::vector<std::string> all;
    for (const auto& order : cluster.restarts) {
      if (all.empty() || all.back() != to_string(order)) {
        all.push_back(to_string(order));
      }
    }
    return all;
  }

  fake_cluster cluster;
  manual_clock time;
  std::string text;
  std::function<void()> on_rest;
  int silent_for = 0; // questions
  int rests = 0;
  bool is_interrupted = false;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(rolling_restart, rolling_fixture)

BOOST_AUTO_TEST_CASE(replaces_all_workers_and_then_the_node) {
  BOOST_REQUIRE(roll("all").has_value());
  const std::vector<std::string> expected{
      "worker 0", "worker 1", "worker 2", "worker 3", "node", "none"};
  BOOST_TEST(targets() == expected, boost::test_tools::per_element());
  BOOST_TEST((cluster.restarts[1].above == std::vector{2U}), "the incarnation that is there now");
  BOOST_TEST((cluster.restarts[4].above == std::vector{1U}));
  for (const auto& order : cluster.restarts) {
    BOOST_TEST(order.claim == 77U);
  }
  BOOST_TEST(text.find("  1/5  worker 0  0.00 s  incarnation 2\n") != std::string::npos, text);
}

BOOST_AUTO_TEST_CASE(leaves_a_node_alone_whose_workers_are_its_threads) {
  cluster.status.isolation = "thread";
  BOOST_REQUIRE(roll("all").has_value());
  BOOST_TEST(targets().size() == 5U);
}

BOOST_AUTO_TEST_CASE(asks_again_until_a_part_is_replaced_or_its_deadline_passes) {
  int waits = 200;
  cluster.on_restart = [&waits](const restart_order& order) -> result<restart_progress> {
    if (order.what == restart_order::kind::none || waits-- <= 0) {
      return restart_progress{.is_done = true, .text = "incarnation 2"};
    }
    return restart_progress{.text = "replica 0 recovers"};
  };
  BOOST_REQUIRE(roll("worker 2").has_value());
  BOOST_TEST(rests == 200);
  BOOST_TEST(text.find("waits: replica 0 recovers") != std::string::npos, text);
  waits = 1'000'000;
  const auto late = roll("all");
  BOOST_REQUIRE(!late);
  BOOST_TEST((late.error().code == errc::timed_out));
  BOOST_TEST(late.error().context.find("replica 0 recovers (not replaced: worker 1, worker 2, "
                                       "worker 3, node)")
                 != std::string::npos,
             late.error().context);
  BOOST_TEST(targets().back() == "none", "the claim is let go");
}

BOOST_AUTO_TEST_CASE(a_node_that_is_away_is_waited_for) {
  silent_for = 3;
  on_rest = [this] {
    silent_for += rests == 5 ? 4 : 0;
  };
  cluster.on_restart = [this](const restart_order&) -> result<restart_progress> {
    return restart_progress{.is_done = rests > 9, .text = "incarnation 2"};
  };
  BOOST_TEST(roll("node").has_value());
}

BOOST_AUTO_TEST_CASE(what_the_cluster_refuses_ends_it) {
  cluster.on_restart = [](const restart_order& order) -> result<restart_progress> {
    if (order.index == 1) {
      return fail(errc::queue_full, "restart: another restart is under way");
    }
    return restart_progress{.is_done = true, .text = {}};
  };
  const auto refused = roll("all");
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::queue_full));
  BOOST_TEST(targets().size() == 3U);
}

BOOST_AUTO_TEST_CASE(an_interrupt_says_what_is_left) {
  is_interrupted = true;
  cluster.on_restart = [](const restart_order& order) -> result<restart_progress> {
    return restart_progress{.is_done = order.index != 2, .text = {}};
  };
  const auto ended = roll("all");
  BOOST_REQUIRE(!ended);
  BOOST_TEST((ended.error().code == errc::cancelled));
  BOOST_TEST(ended.error().context
             == "restart: interrupted at worker 2 (not replaced: worker 3, node)");
  BOOST_TEST(targets().back() == "none");
}

BOOST_AUTO_TEST_CASE(drains_before_it_replaces_and_resumes_after_it) {
  on_rest = [this] {
    BOOST_TEST(cluster.restarts.empty(), "not while its requests run");
    cluster.active = 0;
  };
  BOOST_REQUIRE(roll("replica 0", true).has_value());
  const std::vector<std::pair<std::int32_t, bool>> expected{{0, true}, {0, true}, {0, false}};
  BOOST_TEST((cluster.drained == expected));
  BOOST_REQUIRE(cluster.restarts.size() == 2U);
  BOOST_TEST((cluster.restarts[0].above == std::vector{1U, 2U, 1U, 1U}), "all at once");
}

BOOST_AUTO_TEST_CASE(resumes_also_when_it_is_interrupted) {
  is_interrupted = true;
  BOOST_TEST(!roll("all", true).has_value());
  BOOST_REQUIRE(cluster.drained.size() == 2U);
  BOOST_TEST((cluster.drained[1] == std::pair{0, false}));
}

BOOST_AUTO_TEST_CASE(a_replica_that_drained_before_goes_on_draining) {
  cluster.status.replicas[0].is_draining = true;
  BOOST_TEST(roll("replica 0", true).has_value());
  BOOST_TEST(cluster.drained.empty());
}

BOOST_AUTO_TEST_CASE(targets_that_are_none_are_named) {
  for (const char* target : {"", "worker", "worker 4", "worker x", "replica 1", "none", "run"}) {
    const auto refused = roll(target);
    BOOST_REQUIRE_MESSAGE(!refused, target);
    BOOST_TEST((refused.error().code == errc::invalid_argument), target);
  }
  const auto vault = roll("vault");
  BOOST_REQUIRE(!vault);
  BOOST_TEST((vault.error().code == errc::unsupported));
  BOOST_TEST(vault.error().context.find("kill vault replaces it") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
