// Faults at chosen places: a worker, several, or the executor ends in the middle of the work, and
// nobody who reads a stream can tell. Every case compares with an undisturbed run; every request
// must end exactly once.
#include "tests/support/engine_driver.hpp"
#include "tests/support/workload.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr failpoint_action kill = failpoint_action::kill_actor;
constexpr failpoint_action throws = failpoint_action::throw_error;

/// Greedy, sampled, penalised and n = 2; the longest prompt is computed in four chunks.
std::vector<generate_request> requests() {
  std::vector<generate_request> all;
  for (const std::size_t length : {3UL, 40UL, 17UL, 5UL, 29UL, 64UL}) {
    generate_request request;
    for (std::size_t i = 0; i < length; ++i) {
      request.token_ids.push_back(static_cast<token_id>((i * i + length) % 997));
    }
    request.params.max_tokens = static_cast<std::int32_t>(6 + length % 9);
    request.params.temperature = length % 2 == 0 ? 0.0F : 1.0F;
    request.params.seed = length;
    request.params.ignore_eos = true;
    all.push_back(request);
  }
  all[2].params.n = 2;
  all[3].params.repetition_penalty = 1.2F;
  return all;
}

struct layout {
  int tensor = 1;
  int pipeline = 1;
  int data = 1;

  [[nodiscard]] std::vector<std::string> overrides() const {
    return {"parallel.tensor=" + std::to_string(tensor),
            "parallel.pipeline=" + std::to_string(pipeline),
            "parallel.data=" + std::to_string(data),
            "scheduler.prefill_chunk=16"};
  }

  [[nodiscard]] std::int32_t ranks() const { return tensor * pipeline; }
};

std::string name_of(const layout& place, const failpoint_rule& rule) {
  return rule.point + (rule.action == kill ? " kill" : " throw") + " rank "
         + std::to_string(rule.rank.value_or(-1)) + " step "
         + std::to_string(rule.step.value_or(-1)) + " in " + std::to_string(place.tensor) + "x"
         + std::to_string(place.pipeline) + "x" + std::to_string(place.data);
}

/// What one worker says when nothing happens; the split changes no token.
const std::vector<heard>& undisturbed() {
  static const std::vector<heard> all =
      engine_driver(sim_config(), layout{}.overrides()).run(requests());
  return all;
}

/// Runs the work twice with the rules armed: the second time shows that the engine is sound
/// afterwards.
engine_status check(const layout& place, const std::vector<failpoint_rule>& rules) {
  const auto where = name_of(place, rules.front());
  const auto& expected = undisturbed();
  BOOST_TEST_CONTEXT(where) {
    engine_driver driver(sim_config(), place.overrides());
    for (const auto& rule : rules) {
      BOOST_REQUIRE(driver.get().points().arm(rule));
    }
    const auto first = driver.run(requests());
    const auto second = driver.run(requests());
    BOOST_REQUIRE_EQUAL(first.size(), expected.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      BOOST_TEST(first[i] == expected[i], first[i] << " instead of " << expected[i]);
      BOOST_TEST(second[i] == expected[i],
                 "afterwards: " << second[i] << " instead of " << expected[i]);
    }
    const auto hits = driver.get().points().hits();
    for (std::size_t i = 0; i < rules.size(); ++i) {
      BOOST_TEST(hits[i] > 0U, "rule " << i << " was never hit");
    }
    const auto status = driver.settled();
    BOOST_TEST(status.active_requests == 0U);
    BOOST_TEST(status.finished_requests == 2 * expected.size(), "exactly one end per request");
    return status;
  }
  return {};
}

failpoint_rule
worker_fault(const char* point, failpoint_action action, std::int32_t rank, std::int64_t step) {
  return {.point = point, .rank = rank, .step = step, .action = action};
}

void check_every_place(const layout& place) {
  for (const char* point : {"worker.step_begin", "worker.step_end"}) {
    for (const auto action : {kill, throws}) {
      for (std::int32_t rank = 0; rank < place.ranks(); ++rank) {
        for (const std::int64_t step : {1, 4, 9}) {
          const auto status = check(place, {worker_fault(point, action, rank, step)});
          BOOST_TEST(status.restarts == 1U,
                     name_of(place, worker_fault(point, action, rank, step)));
        }
      }
    }
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(one_worker)

BOOST_AUTO_TEST_CASE(of_two_tensor_ranks) {
  check_every_place({.tensor = 2});
}

BOOST_AUTO_TEST_CASE(of_two_stages) {
  check_every_place({.pipeline = 2});
}

BOOST_AUTO_TEST_CASE(of_two_tensor_ranks_on_two_stages) {
  check_every_place({.tensor = 2, .pipeline = 2});
}

BOOST_AUTO_TEST_CASE(of_two_replicas) {
  check_every_place({.data = 2});
}

BOOST_AUTO_TEST_CASE(that_is_alone) {
  check_every_place({});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(several_faults)

BOOST_AUTO_TEST_CASE(two_workers_in_one_step) {
  for (const auto action : {kill, throws}) {
    for (int round = 0; round < 5; ++round) {
      const auto status = check({.tensor = 2, .pipeline = 2},
                                {worker_fault("worker.step_begin", action, 0, 4),
                                 worker_fault("worker.step_begin", action, 3, 4)});
      BOOST_TEST(status.restarts == 2U);
    }
  }
}

BOOST_AUTO_TEST_CASE(all_workers_in_one_step) {
  const layout place{.tensor = 2, .pipeline = 2};
  for (const auto action : {kill, throws}) {
    std::vector<failpoint_rule> rules;
    for (std::int32_t rank = 0; rank < place.ranks(); ++rank) {
      rules.push_back(worker_fault("worker.step_end", action, rank, 5));
    }
    BOOST_TEST(check(place, rules).restarts == 4U);
  }
}

BOOST_AUTO_TEST_CASE(the_replacement_dies_too) {
  for (const auto action : {kill, throws}) {
    auto rule = worker_fault("worker.step_begin", action, 1, 6);
    rule.count = 3;
    const auto restarts = check({.tensor = 2, .pipeline = 2}, {rule}).restarts;
    // With two steps in flight an actor that is being killed can meet the rule twice.
    BOOST_TEST((action == throws ? restarts == 3U : restarts >= 2U && restarts <= 3U),
               restarts << " restarts");
  }
}

BOOST_AUTO_TEST_CASE(a_replacement_fails_while_it_loads) {
  // The rule is armed after the start, so only replacements meet it.
  BOOST_TEST(
      check({.tensor = 2},
            {worker_fault("worker.step_end", kill, 0, 4), {.point = "worker.load", .rank = 0}})
          .restarts
      == 2U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_only_hesitates_is_waited_for) {
  failpoint_rule slow{.point = "worker.step_begin",
                      .rank = 1,
                      .step = 3,
                      .action = failpoint_action::delay,
                      .argument = 60};
  BOOST_TEST(check({.tensor = 2}, {slow}).restarts == 0U);
}

BOOST_AUTO_TEST_CASE(one_fault_in_each_replica) {
  std::vector<failpoint_rule> rules;
  for (std::int32_t replica = 0; replica < 2; ++replica) {
    rules.push_back({.point = "worker.step_begin", .replica = replica, .step = 3, .action = kill});
    rules.push_back({.point = "worker.step_end", .replica = replica, .step = 7, .action = throws});
  }
  BOOST_TEST(check({.tensor = 2, .data = 2}, rules).restarts == 4U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(the_executor)

BOOST_AUTO_TEST_CASE(is_replaced_and_its_scheduler_rebuilt_from_the_ledger) {
  for (const layout& place : {layout{},
                              layout{.tensor = 2},
                              layout{.pipeline = 2},
                              layout{.tensor = 2, .pipeline = 2, .data = 2}}) {
    for (const auto action : {kill, throws}) {
      for (const std::int64_t step : {1, 4, 9}) {
        check(place,
              {{.point = "executor.before_send", .replica = 0, .step = step, .action = action}});
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(dies_together_with_a_worker) {
  for (int round = 0; round < 5; ++round) {
    check({.tensor = 2, .pipeline = 2},
          {{.point = "executor.before_send", .step = 5, .action = kill},
           worker_fault("worker.step_begin", kill, 1, 5)});
    check({.tensor = 2, .pipeline = 2},
          {{.point = "executor.before_send", .step = 5, .action = throws},
           worker_fault("worker.step_end", throws, 2, 4)});
  }
}

BOOST_AUTO_TEST_CASE(dies_again_and_again) {
  failpoint_rule rule{.point = "executor.before_send", .step = 3, .action = kill};
  rule.count = 4;
  check({.tensor = 2}, {rule});
}

BOOST_AUTO_TEST_SUITE_END()

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
  std::vector<std::shared_ptr<actors::text_stream>> streams;
  for (const auto& request : requests()) {
    auto made = driver.get().generate(request);
    if (made) {
      std::move(made->sequences.begin(), made->sequences.end(), std::back_inserter(streams));
    } else { // the end came first
      BOOST_TEST((made.error().code == errc::closed));
    }
  }
  BOOST_REQUIRE(!streams.empty());
  for (const auto& stream : streams) {
    const auto one = read_to_end(*stream);
    BOOST_TEST((one.reason == protocol::finish_reason::failed
                || one.reason == protocol::finish_reason::length));
  }
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
  request.params.temperature = 1.0F; // the seed is drawn
  const auto first = driver.run({request});
  const auto second = driver.run({request});
  BOOST_TEST(first.front() == second.front());
  BOOST_TEST(driver.settled().finished_requests == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(any_faults)

/// One to five faults anywhere; VDIST_TEST_SEED replays a failure, VDIST_TEST_ROUNDS makes it
/// longer.
BOOST_AUTO_TEST_CASE(leave_every_stream_as_it_was) {
  const char* seed_text = std::getenv("VDIST_TEST_SEED");
  const char* rounds_text = std::getenv("VDIST_TEST_ROUNDS");
  const unsigned long first = seed_text != nullptr ? std::stoul(seed_text) : 1;
  const unsigned long rounds = rounds_text != nullptr ? std::stoul(rounds_text)
                               : seed_text != nullptr ? 1
                                                      : 100;
  for (unsigned long seed = first; seed < first + rounds; ++seed) {
    BOOST_TEST_CONTEXT("VDIST_TEST_SEED=" << seed) {
      std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
      const std::array<layout, 6> places{layout{},
                                         {.tensor = 2},
                                         {.pipeline = 3},
                                         {.tensor = 2, .pipeline = 2},
                                         {.tensor = 4},
                                         {.tensor = 2, .pipeline = 2, .data = 2}};
      const auto& place = places[random() % places.size()];
      engine_driver driver(sim_config(), place.overrides());
      for (auto faults = 1 + random() % 5; faults > 0; --faults) {
        const std::array points{"worker.step_begin",
                                "worker.step_end",
                                "worker.load",
                                "executor.before_send",
                                "router.submit",
                                "router.tokens",
                                "scheduler.add",
                                "stage.event",
                                "supervisor.event"};
        failpoint_rule rule{.point = points[random() % points.size()],
                            .action = random() % 2 == 0 ? kill : throws};
        if (rule.point.starts_with("worker")) {
          rule.rank = static_cast<std::int32_t>(random() % static_cast<unsigned>(place.ranks()));
        }
        if (rule.point.starts_with("worker.step") || rule.point.starts_with("executor")) {
          rule.step = static_cast<std::int64_t>(1 + random() % 14);
        }
        rule.nth = static_cast<std::uint32_t>(1 + random() % 3);
        rule.count = 1 + random() % 2;
        BOOST_REQUIRE(driver.get().points().arm(rule));
      }
      const auto& expected = undisturbed();
      const auto got = driver.run(requests());
      for (std::size_t i = 0; i < got.size(); ++i) {
        BOOST_TEST(got[i] == expected[i], got[i] << " instead of " << expected[i]);
      }
      const auto status = driver.settled();
      BOOST_TEST(status.active_requests == 0U);
      BOOST_TEST(status.finished_requests == expected.size(), "exactly one end per request");
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

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

BOOST_AUTO_TEST_SUITE(the_end_of_an_engine)

BOOST_AUTO_TEST_CASE(may_come_in_the_middle_of_a_recovery) {
  for (int round = 0; round < 40; ++round) {
    engine_driver driver(sim_config(), layout{.tensor = 2, .pipeline = 2}.overrides());
    for (std::int32_t rank = 0; rank < 4; ++rank) {
      BOOST_REQUIRE(driver.get().points().arm({.point = "worker.step_begin",
                                               .rank = rank,
                                               .step = 1 + round % 4,
                                               .action = kill,
                                               .count = 0}));
    }
    for (const auto& request : requests()) {
      BOOST_TEST(driver.get().generate(request).has_value());
    }
    if (round % 2 == 0) {
      while (driver.get().status().restarts == 0) {
      }
    }
  } // nobody waits for the requests
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(idle_workers)

BOOST_AUTO_TEST_CASE(that_die_at_their_next_step_are_replaced_then) {
  engine_driver driver(sim_config(), layout{.tensor = 2}.overrides());
  for (std::uint64_t round = 1; round <= 4; ++round) {
    BOOST_TEST((driver.run(requests()) == undisturbed()));
    BOOST_TEST(driver.settled().restarts == round - 1);
    BOOST_REQUIRE(driver.get().points().arm(
        {.point = "worker.step_begin", .rank = 1, .action = round % 2 == 0 ? kill : throws}));
  }
}

BOOST_AUTO_TEST_SUITE_END()

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
