#include "runtime/base/failpoint.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <string>
#include <thread>

using namespace vdist;

BOOST_AUTO_TEST_CASE(acts_only_where_every_set_field_matches) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "worker.step_begin", .rank = 1, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_end", {.rank = 1, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 0, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 39}));
  BOOST_CHECK_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 41}), failpoint_error);
  BOOST_TEST(points.hits().at(0) == 1U);
}

BOOST_AUTO_TEST_CASE(a_spent_rule_acts_no_more) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .count = 2}));
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_NO_THROW(points.reach("p", {}));
}

BOOST_AUTO_TEST_CASE(kill_actor_runs_the_owners_hook) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = failpoint_action::kill_actor}));
  int killed = 0;
  points.reach("p", {}, [&killed] { ++killed; });
  BOOST_TEST(killed == 1);
}

BOOST_AUTO_TEST_CASE(nothing_armed_costs_nothing_and_clear_disarms) {
  failpoints points;
  BOOST_TEST(!points.is_armed());
  BOOST_REQUIRE(points.arm({.point = "p"}));
  BOOST_TEST(points.is_armed());
  points.clear();
  BOOST_TEST(!points.is_armed());
  BOOST_CHECK_NO_THROW(VDIST_FAILPOINT(points, "p", failpoint_context{}));
}

BOOST_AUTO_TEST_CASE(a_shared_table_is_armed_and_counted_over_all_its_users) {
  failpoint_table table;
  failpoints control(table);
  failpoints worker(table);
  failpoints successor(table);
  BOOST_REQUIRE(control.arm({.point = "p", .rank = 2, .count = 2}));
  BOOST_TEST(worker.is_armed());
  BOOST_CHECK_THROW(worker.reach("p", {.rank = 2}), failpoint_error);
  BOOST_CHECK_THROW(successor.reach("p", {.rank = 2}), failpoint_error);
  BOOST_CHECK_NO_THROW(successor.reach("p", {.rank = 2})); // F-2: the count is of all together
  BOOST_TEST(control.hits().at(0) == 2U);
}

BOOST_AUTO_TEST_CASE(refuses_what_does_not_fit_into_the_table) {
  failpoints points;
  BOOST_TEST(!points.arm({.point = std::string(failpoint_name_max + 1, 'p')}));
  for (std::size_t i = 0; i < failpoint_rules_max; ++i) {
    BOOST_REQUIRE(points.arm({.point = "p"}));
  }
  const auto refused = points.arm({.point = "p"});
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::resource_exhausted));
}

BOOST_AUTO_TEST_CASE(a_reader_sees_whole_rules_while_others_are_armed) { // F-3
  failpoints points;
  std::atomic<bool> is_done{false};
  std::thread reader([&points, &is_done] {
    while (!is_done) {
      // Both rules of a pair carry the same number in rank and step: a mixture would strike here.
      points.reach("p", {.rank = 1, .step = 0});
      points.reach("p", {.rank = 0, .step = 1});
    }
  });
  for (int round = 0; round < 2000; ++round) {
    const auto number = round % 2 == 0 ? 1 : 2;
    BOOST_REQUIRE(points.arm({.point = "p", .rank = number, .step = number}));
    points.clear();
  }
  is_done = true;
  reader.join();
}
