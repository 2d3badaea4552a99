#include "actors/system/replica.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

// R-4 of recovery.hpp: a step of the deadline that is configured may run twice before a worker has left an epoch.
BOOST_AUTO_TEST_CASE(the_time_to_leave_an_epoch_follows_the_deadline_of_steps) {
  model_setup setup;
  setup.config.fault_tolerance.step_deadline_ms = 30'000;
  BOOST_TEST((recovery_config_of(setup, 2).quiesce_deadline == 65s));
  setup.config.fault_tolerance.step_deadline_ms = 2'000;
  BOOST_TEST((recovery_config_of(setup, 2).quiesce_deadline == 10s), "never less than that");
  BOOST_TEST(recovery_config_of(setup, 2).slots == 2);
}
