// What cannot be kept alive: a replica is given up, its requests move or end, each once.
#include "tests/fault/fault_workload.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(giving_up)

BOOST_AUTO_TEST_CASE(ends_every_request_once_when_nobody_is_left) {
  engine_driver driver(sim_config(), {"parallel.tensor=2", "fault_tolerance.max_restarts=2"});
  BOOST_REQUIRE(driver.get().points().arm(
      {.point = "worker.step_begin", .rank = 1, .step = 3, .action = kill, .count = 0}));
  const auto ended = driver.run(requests());
  for (const auto& one : ended) {
    BOOST_TEST((one.reason == protocol::finish_reason::failed));
    BOOST_TEST(one.message.find("worker slot 1 died") != std::string::npos, one.message);
  }
  BOOST_TEST(driver.get().failure().has_value());
  BOOST_TEST(driver.settled().active_requests == 0U);
  const auto refused = driver.get().generate(requests().front());
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::closed));
}

BOOST_AUTO_TEST_CASE(ends_every_request_once_when_no_executor_can_live) {
  engine_driver driver(sim_config(), {"parallel.tensor=2", "fault_tolerance.max_restarts=3"});
  BOOST_REQUIRE(driver.get().points().arm(
      {.point = "executor.before_send", .step = 3, .action = throws, .count = 0}));
  for (const auto& one : driver.run(requests())) {
    BOOST_TEST((one.reason == protocol::finish_reason::failed
                || one.reason == protocol::finish_reason::length));
  }
  BOOST_TEST(driver.get().failure().has_value());
  BOOST_TEST(driver.settled().active_requests == 0U);
}

BOOST_AUTO_TEST_CASE(moves_requests_to_the_replica_that_lives) {
  engine_driver driver(
      sim_config(),
      {"parallel.data=2", "fault_tolerance.max_restarts=1", "scheduler.prefill_chunk=16"});
  BOOST_REQUIRE(driver.get().points().arm(
      {.point = "worker.step_end", .replica = 1, .step = 4, .action = throws, .count = 0}));
  const auto ended = driver.run(requests());
  const auto& expected = undisturbed();
  for (std::size_t i = 0; i < ended.size(); ++i) {
    BOOST_TEST(ended[i] == expected[i], ended[i] << " instead of " << expected[i]);
  }
  const auto status = driver.settled();
  BOOST_TEST(status.finished_requests == expected.size());
}

BOOST_AUTO_TEST_SUITE_END()
