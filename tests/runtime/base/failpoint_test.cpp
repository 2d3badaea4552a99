#include "runtime/base/failpoint.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;

BOOST_AUTO_TEST_CASE(acts_only_where_every_set_field_matches) {
  failpoints points;
  points.arm({.point = "worker.step_begin", .rank = 1, .step = 40});
  BOOST_CHECK_NO_THROW(points.reach("worker.step_end", {.rank = 1, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 0, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 39}));
  BOOST_CHECK_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 41}), failpoint_error);
  BOOST_TEST(points.hits().at(0) == 1U);
}

BOOST_AUTO_TEST_CASE(a_spent_rule_acts_no_more) {
  failpoints points;
  points.arm({.point = "p", .count = 2});
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_NO_THROW(points.reach("p", {}));
}

BOOST_AUTO_TEST_CASE(kill_actor_runs_the_owners_hook) {
  failpoints points;
  points.arm({.point = "p", .action = failpoint_action::kill_actor});
  int killed = 0;
  points.reach("p", {}, [&killed] { ++killed; });
  BOOST_TEST(killed == 1);
}

BOOST_AUTO_TEST_CASE(nothing_armed_costs_nothing_and_clear_disarms) {
  failpoints points;
  BOOST_TEST(!points.is_armed());
  points.arm({.point = "p"});
  BOOST_TEST(points.is_armed());
  points.clear();
  BOOST_TEST(!points.is_armed());
  BOOST_CHECK_NO_THROW(VDIST_FAILPOINT(points, "p", failpoint_context{}));
}
