// The whole control plane on the sim device: 64 workers in this process, some hundred requests. Its tokens depend on the
// split (every rank mixes its place into its share), so runs of the same split are compared.
#include "tests/support/engine_driver.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

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

} // namespace

BOOST_AUTO_TEST_SUITE(engine_of_simulated_workers)

BOOST_AUTO_TEST_CASE(sixty_four_workers_serve_hundreds_of_requests_alike) {
  const auto requests = random_requests(300);
  engine_driver one(sim_config(), {"parallel.tensor=8", "parallel.pipeline=4", "scheduler.prefix_cache=false"});
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
  engine_driver wide(sim_config(), {"parallel.pipeline=2"});
  const auto expected = wide.run(requests);
  engine_driver narrow(sim_config(), {"device.kv_cache_bytes=2560", "scheduler.prefill_chunk=5", "parallel.pipeline=2"});
  BOOST_TEST((narrow.run(requests) == expected));
  BOOST_TEST(narrow.settled().preemptions > 0U);
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
