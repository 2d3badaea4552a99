// The actors of the control side end in the middle of the work, once, together, or again and again.
#include "tests/fault/fault_workload.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <vector>

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(control_actors)

/// No deadline of 5 s or more was waited for, from the start of an engine to the end of both runs.
void check_in_time(const layout& place, const std::vector<failpoint_rule>& rules) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::chrono::seconds bound{30};
#else
  constexpr std::chrono::seconds bound{4};
#endif
  const auto before = std::chrono::steady_clock::now();
  check(place, rules);
  const auto took = std::chrono::steady_clock::now() - before;
  BOOST_TEST((took < bound),
             name_of(place, rules.front())
                 << ": " << std::chrono::duration<double>(took).count() << " s");
}

failpoint_rule control_fault(const char* point, failpoint_action action, std::uint32_t nth) {
  return {.point = point, .action = action, .nth = nth};
}

BOOST_AUTO_TEST_CASE(of_the_way_of_requests_are_replaced_in_the_middle_of_a_batch) {
  for (const layout& place : {layout{.tensor = 2}, layout{.pipeline = 2, .data = 2}}) {
    for (const char* point : {"router.submit", "router.tokens", "scheduler.add"}) {
      for (const auto action : {kill, throws}) {
        for (const std::uint32_t nth : {1U, 3U, 6U}) {
          check_in_time(place, {control_fault(point, action, nth)});
        }
      }
    }
  }
}

/// A worker's end is what they hear of; they end when they hear its first, second or third event.
BOOST_AUTO_TEST_CASE(of_the_tree_are_replaced_during_a_recovery) {
  for (const layout& place : {layout{.tensor = 2}, layout{.tensor = 2, .pipeline = 2}}) {
    for (const char* point : {"stage.event", "supervisor.event"}) {
      for (const auto action : {kill, throws}) {
        for (const std::uint32_t nth : {1U, 2U, 3U}) {
          check_in_time(
              place,
              {worker_fault("worker.step_begin", throws, 1, 4), control_fault(point, action, nth)});
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(end_together) {
  for (const auto action : {kill, throws}) {
    check_in_time({.tensor = 2, .data = 2},
                  {control_fault("router.tokens", action, 4),
                   control_fault("scheduler.add", action, 3),
                   {.point = "executor.before_send", .step = 5, .action = action},
                   worker_fault("worker.step_end", action, 1, 6),
                   control_fault("supervisor.event", action, 1),
                   control_fault("stage.event", action, 2)});
  }
}

BOOST_AUTO_TEST_CASE(end_again_and_again) {
  for (const char* point : {"router.submit", "router.tokens", "scheduler.add"}) {
    auto rule = control_fault(point, throws, 2);
    rule.count = 5;
    check_in_time({.tensor = 2}, {rule});
  }
  auto rule = control_fault("supervisor.event", kill, 1);
  rule.count = 5;
  check_in_time({.tensor = 2}, {worker_fault("worker.step_end", throws, 0, 5), rule});
}

BOOST_AUTO_TEST_CASE(that_always_fail_end_the_cluster_and_every_stream) { // C-3
  engine_driver driver(sim_config(), {"fault_tolerance.max_restarts=3"});
  BOOST_REQUIRE(
      driver.get().points().arm({.point = "router.tokens", .action = throws, .count = 0}));
  // Each router delivers what the ledger has before it dies, so on a slow machine a round can end before the cluster does.
  constexpr int rounds_max = 50;
  std::size_t streams = 0;
  for (int round = 0; round < rounds_max && !driver.get().failure(); ++round) {
    std::vector<std::shared_ptr<actors::text_stream>> begun;
    for (const auto& request : requests()) {
      auto made = driver.get().generate(request);
      if (made) {
        std::move(made->sequences.begin(), made->sequences.end(), std::back_inserter(begun));
      } else { // the end came first
        BOOST_TEST((made.error().code == errc::closed));
      }
    }
    for (const auto& stream : begun) {
      const auto one = read_to_end(*stream);
      BOOST_TEST((one.reason == protocol::finish_reason::failed
                  || one.reason == protocol::finish_reason::length));
    }
    streams += begun.size();
  }
  BOOST_TEST(streams > 0U);
  BOOST_TEST(driver.get().failure().has_value());
  const auto refused = driver.get().generate({.token_ids = {1, 2, 3}});
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::closed));
}

/// The replica that cannot have a scheduler is given up; the other one does the work.
BOOST_AUTO_TEST_CASE(that_always_fail_cost_no_more_than_their_replica) { // C-3
  engine_driver driver(
      sim_config(),
      {"parallel.data=2", "fault_tolerance.max_restarts=2", "scheduler.prefill_chunk=16"});
  BOOST_REQUIRE(driver.get().points().arm(
      {.point = "scheduler.add", .replica = 1, .action = throws, .count = 0}));
  const auto ended = driver.run(requests());
  const auto& expected = undisturbed();
  for (std::size_t i = 0; i < ended.size(); ++i) {
    BOOST_TEST(ended[i] == expected[i], ended[i] << " instead of " << expected[i]);
  }
  BOOST_TEST(driver.settled().finished_requests == expected.size());
}

/// The same client key gives the same generation, also beside the first one.
BOOST_AUTO_TEST_CASE(know_a_request_by_the_key_of_its_client) { // B9
  engine_driver driver(sim_config());
  generate_request request{.token_ids = {1, 2, 3}, .client_key = 77};
  request.params.max_tokens = 8;
  request.params.temperature = 1.0F; // the seed follows from the key
  const auto first = driver.run({request});
  const auto second = driver.run({request});
  BOOST_TEST(first.front() == second.front());
  BOOST_TEST(driver.settled().finished_requests == 1U);
  request.params.max_tokens = 9;
  const auto other = driver.get().generate(request);
  BOOST_REQUIRE(!other.has_value()); // O-4
  BOOST_TEST((other.error().code == errc::invalid_argument));
  BOOST_TEST(other.error().context.find("client_key=77") != std::string::npos,
             other.error().context);
}

BOOST_AUTO_TEST_SUITE_END()
