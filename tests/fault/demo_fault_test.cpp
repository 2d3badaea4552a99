// Faults while the demo model works: every way to choose and end tokens.
#include "tests/fault/fault_workload.hpp"
#include "tests/support/workload.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(the_demo_model)

/// Every way to choose and end tokens, log probabilities included, against a run in which nothing
/// happens.
void check_demo(const layout& place,
                const std::vector<failpoint_rule>& rules,
                std::vector<std::string> more = {}) {
  static const auto expected = engine_driver(tiny_tales_config()).run(all_requests());
  BOOST_TEST_CONTEXT(name_of(place, rules.front())) {
    const auto split = place.overrides();
    more.insert(more.end(), split.begin(), split.end());
    engine_driver driver(tiny_tales_config(), more);
    for (const auto& rule : rules) {
      BOOST_REQUIRE(driver.get().points().arm(rule));
    }
    const auto got = driver.run(all_requests());
    BOOST_REQUIRE_EQUAL(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      BOOST_TEST(got[i] == expected[i], got[i] << " instead of " << expected[i]);
    }
    for (const auto hits : driver.get().points().hits()) {
      BOOST_TEST(hits > 0U, "a rule was never hit");
    }
    BOOST_TEST(driver.settled().finished_requests == expected.size());
  }
}

BOOST_AUTO_TEST_CASE(goes_on_whichever_worker_ends) {
  for (const layout& place : {layout{.tensor = 2},
                              layout{.pipeline = 2},
                              layout{.tensor = 2, .pipeline = 2},
                              layout{.data = 2}}) {
    check_demo(place, {worker_fault("worker.step_begin", kill, place.ranks() - 1, 2)});
    check_demo(place, {worker_fault("worker.step_end", throws, 0, 7)});
  }
}

BOOST_AUTO_TEST_CASE(goes_on_when_its_executor_ends) {
  for (const std::int64_t step : {2, 5, 8, 11}) {
    check_demo({.tensor = 2}, {{.point = "executor.before_send", .step = step, .action = kill}});
    check_demo({.pipeline = 2},
               {{.point = "executor.before_send", .step = step, .action = throws}});
  }
}

BOOST_AUTO_TEST_CASE(goes_on_when_its_control_actors_end) {
  for (const layout& place : {layout{.tensor = 2}, layout{.pipeline = 2, .data = 2}}) {
    for (const auto action : {kill, throws}) {
      for (const char* point : {"router.submit", "router.tokens", "scheduler.add"}) {
        check_demo(place, {{.point = point, .action = action, .nth = 3}});
      }
      for (const char* point : {"stage.event", "supervisor.event"}) {
        check_demo(
            place,
            {{.point = point, .action = action}, worker_fault("worker.step_begin", throws, 0, 4)});
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(goes_on_when_blocks_are_short) {
  check_demo({.tensor = 2},
             {worker_fault("worker.step_begin", kill, 1, 3),
              worker_fault("worker.step_end", throws, 0, 9)},
             {"device.kv_cache_bytes=425984"}); // 13 blocks of 16 tokens
}

BOOST_AUTO_TEST_SUITE_END()
