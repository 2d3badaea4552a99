// The whole control plane on the sim device: 64 workers in this process, some hundred requests.
#include "tests/support/engine_driver.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <numeric>
#include <random>
#include <thread>

using namespace vdist;
using namespace vdist::testing;

namespace {

std::vector<generate_request> random_requests(std::size_t count) {
  std::mt19937 random(7);
  std::vector<generate_request> all(count);
  for (auto& request : all) {
    request.token_ids.resize(1 + random() % 60);
    for (auto& id : request.token_ids) {
      id = static_cast<token_id>(random() % 1000);
    }
    request.params.max_tokens = static_cast<std::int32_t>(1 + random() % 16);
    request.params.temperature = random() % 2 == 0 ? 0.0F : 1.0F;
    request.params.seed = random();
  }
  return all;
}

/// What conversations came to: everything that was said, and how much of the prompts was in a cache.
struct conversations {
  std::vector<std::vector<token_id>> said;
  std::uint64_t prefix_hits = 0;
  std::uint64_t prefix_tokens = 0;
};

/// Every turn sends all that was said before and something new; turns come in a random order, so nothing but their
/// prefixes leads conversations back to a replica.
conversations converse(std::vector<std::string> overrides) {
  constexpr std::size_t count = 12;
  constexpr int turns = 6;
  overrides.insert(overrides.end(),
                   {"device.sim.max_model_len=4096", "device.kv_cache_bytes=134217728"});
  engine_driver driver(sim_config(), overrides);
  std::mt19937 random(11);
  conversations all{.said = std::vector<std::vector<token_id>>(count)};
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (int turn = 0; turn < turns; ++turn) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<generate_request> requests;
    for (const auto one : order) {
      for (int i = 0; i < 300; ++i) {
        all.said[one].push_back(static_cast<token_id>(random() % 1000));
      }
      auto& request = requests.emplace_back();
      request.token_ids = all.said[one];
      request.params.max_tokens = 16;
      request.params.ignore_eos = true;
      request.params.seed = one;
    }
    const auto answers = driver.run(requests);
    for (std::size_t i = 0; i < count; ++i) {
      auto& said = all.said[order[i]];
      said.insert(said.end(), answers[i].token_ids.begin(), answers[i].token_ids.end());
    }
  }
  const auto status = driver.settled();
  all.prefix_hits = status.prefix_hits;
  all.prefix_tokens = status.prefix_tokens;
  return all;
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_of_simulated_workers)

BOOST_AUTO_TEST_CASE(sixty_four_workers_serve_hundreds_of_requests_alike) {
  const auto requests = random_requests(300);
  engine_driver one(sim_config(), {"scheduler.prefix_cache=false"});
  const auto expected = one.run(requests);
  engine_driver many(sim_config(), {"parallel.tensor=8", "parallel.pipeline=4", "parallel.data=2"});
  BOOST_TEST((many.run(requests) == expected));
  BOOST_TEST((many.run(requests) == expected), "a second time, from the prefix cache");
  const auto status = many.settled();
  BOOST_TEST(status.finished_requests == 600U);
  BOOST_TEST(status.active_requests == 0U);
  BOOST_TEST(status.epochs.size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_pool_that_is_too_small_for_all_changes_no_token) {
  const auto requests = random_requests(120);
  engine_driver wide(sim_config());
  const auto expected = wide.run(requests);
  engine_driver narrow(
      sim_config(),
      {"device.kv_cache_bytes=2560", "scheduler.prefill_chunk=5", "parallel.pipeline=2"});
  BOOST_TEST((narrow.run(requests) == expected));
  BOOST_TEST(narrow.settled().preemptions > 0U);
}

/// sched/replica_choice.hpp, B-2, B-4.
BOOST_AUTO_TEST_CASE(conversations_return_to_the_replica_that_holds_them) {
  const std::string slow = "device.sim.step_us=10000"; // all of a turn have come before one ends
  const auto alone = converse({});
  const auto by_prefix = converse({"parallel.data=2", slow});
  const auto by_load = converse({"parallel.data=2", slow, "scheduler.routing=load"});
  for (const auto* one : {&alone, &by_prefix, &by_load}) {
    BOOST_TEST_MESSAGE("found in a cache: " << one->prefix_hits << " of " << one->prefix_tokens
                                            << " prompt tokens");
    BOOST_TEST((one->said == alone.said));
    BOOST_TEST(one->prefix_tokens == alone.prefix_tokens);
  }
  // One replica has it all; with two, a few go where there is less to do.
  BOOST_TEST(by_prefix.prefix_hits * 10 > alone.prefix_hits * 9);
  BOOST_TEST(by_prefix.prefix_hits * 10 > by_load.prefix_hits * 13);
}

BOOST_AUTO_TEST_CASE(requests_without_prefixes_load_replicas_alike) {
  // All have come before one ends: a replica that gets less of a busy machine would rightly be given less.
  engine_driver driver(sim_config(), {"parallel.data=2", "device.sim.step_us=10000"});
  std::vector<generate_request> requests(200);
  std::mt19937 random(5);
  for (auto& request : requests) {
    request.token_ids.resize(40);
    std::ranges::generate(request.token_ids,
                          [&random] { return static_cast<token_id>(random() % 1000); });
    request.params.max_tokens = 16;
    request.params.ignore_eos = true;
  }
  BOOST_TEST(driver.run(requests).size() == requests.size());
  BOOST_TEST(driver.settled().finished_requests == requests.size());
  const auto replicas = driver.get().details().replicas;
  const auto first = static_cast<double>(replicas[0].tokens);
  const auto second = static_cast<double>(replicas[1].tokens);
  BOOST_TEST_MESSAGE("tokens computed: " << first << " and " << second);
  BOOST_TEST(std::abs(first - second) < 0.1 * (first + second));
}

BOOST_AUTO_TEST_CASE(an_idle_engine_costs_next_to_nothing) {
  engine_driver driver(sim_config(), {"parallel.tensor=4", "parallel.pipeline=2"});
  const auto requests = random_requests(20);
  BOOST_TEST(driver.run(requests).size() == requests.size());
  BOOST_TEST(driver.settled().active_requests == 0U);
  constexpr double seconds = 2;
  const auto used = [] {
    timespec spent{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) * 1e-9;
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(300)); // the last spinners give up
  const double before = used();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double share = (used() - before) / seconds;
  BOOST_TEST_MESSAGE("idle: " << share * 100 << " % of a core");
  BOOST_TEST(share < 0.02, "of a core: " << share);
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_ends_once_and_soon) {
  engine_driver driver(sim_config(), {"device.sim.step_us=1000"});
  generate_request request{.token_ids = {1, 2, 3}};
  request.params.max_tokens = 200;
  request.params.ignore_eos = true;
  auto made = driver.get().generate(request);
  BOOST_REQUIRE(made.has_value());
  made->sequences[0]->cancel();
  const auto end = read_to_end(*made->sequences[0]);
  BOOST_TEST((end.reason == protocol::finish_reason::cancelled));
  BOOST_TEST(end.token_ids.size() < 200U);
  BOOST_TEST(driver.settled().active_requests == 0U);
}

BOOST_AUTO_TEST_CASE(what_was_accepted_is_never_refused_for_want_of_room) {
  engine_driver driver(
      sim_config(),
      {"scheduler.max_waiting=3", "scheduler.max_sequences=2", "device.sim.step_us=500"});
  std::vector<std::shared_ptr<actors::text_stream>> accepted;
  std::size_t refused = 0;
  for (const auto& request : random_requests(40)) {
    auto made = driver.get().generate(request);
    if (made) {
      accepted.push_back(made->sequences[0]);
    } else {
      BOOST_TEST((made.error().code == errc::queue_full));
      ++refused;
    }
  }
  BOOST_TEST(accepted.size() >= 5U, "as many as may run and wait");
  BOOST_TEST(refused > 0U);
  for (const auto& stream : accepted) {
    const auto end = read_to_end(*stream);
    BOOST_TEST((end.reason != protocol::finish_reason::failed), end);
  }
}

BOOST_AUTO_TEST_CASE(what_can_never_run_is_refused_with_its_reason) {
  engine_driver driver(sim_config());
  const auto refusal = [&driver](generate_request request) {
    const auto made = driver.get().generate(request);
    BOOST_REQUIRE(!made.has_value());
    BOOST_TEST((made.error().code == errc::invalid_argument));
    return made.error().context;
  };
  generate_request too_long{.token_ids = std::vector<token_id>(300, 5)};
  BOOST_TEST(refusal(too_long).find("max_model_len=256") != std::string::npos);
  BOOST_TEST(refusal({.token_ids = {1000}}).find("0 to 999") != std::string::npos);
  BOOST_TEST(refusal({}).find("prompt") != std::string::npos);
  generate_request hot{.token_ids = {1}};
  hot.params.temperature = 3;
  BOOST_TEST(refusal(hot).find("temperature") != std::string::npos);
  BOOST_TEST(driver.settled().active_requests == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
