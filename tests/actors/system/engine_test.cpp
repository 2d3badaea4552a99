// A token is a function of weights, request and earlier tokens: the same bits on any split of the
// model, alone or in company, in chunks, from the cache, after a preemption.
#include "tests/support/engine_driver.hpp"
#include "tests/support/workload.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

using namespace vdist;
using namespace vdist::testing;

namespace {

/// Every request alone, on one worker, without prefix cache: what all others are compared with.
const std::vector<heard>& reference() {
  static const std::vector<heard> all = [] {
    engine_driver alone(tiny_tales_config(), {"scheduler.prefix_cache=false"});
    return alone.run_alone(all_requests());
  }();
  return all;
}

void check_same(const std::vector<heard>& got,
                const std::vector<heard>& expected,
                const std::string& where) {
  BOOST_REQUIRE_EQUAL(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    BOOST_TEST(got[i] == expected[i],
               where << ", sequence " << i << ": " << got[i] << " instead of " << expected[i]);
  }
}

struct split {
  int tensor;
  int pipeline;
  int data;
  const char* layers = "[]";
};

void check_split(const split& wanted) {
  const auto where = "tensor " + std::to_string(wanted.tensor) + " pipeline "
                     + std::to_string(wanted.pipeline) + " data " + std::to_string(wanted.data)
                     + " layers " + wanted.layers;
  engine_driver driver(tiny_tales_config(),
                       {"parallel.tensor=" + std::to_string(wanted.tensor),
                        "parallel.pipeline=" + std::to_string(wanted.pipeline),
                        "parallel.data=" + std::to_string(wanted.data),
                        std::string("parallel.pipeline_layers=") + wanted.layers});
  check_same(driver.run(all_requests()), reference(), where);
  const auto status = driver.settled();
  BOOST_TEST(status.active_requests == 0U);
  BOOST_TEST(status.finished_requests == reference().size(), "one end per request");
  BOOST_TEST(status.restarts == 0U);
}

/// Runs the workload in three random orders on one engine: the later rounds meet a filled prefix
/// cache.
engine_status check_in_company(const std::vector<std::string>& overrides) {
  engine_driver driver(tiny_tales_config(), overrides);
  std::mt19937 random(1);
  for (int round = 0; round < 3; ++round) {
    const auto requests = all_requests();
    std::vector<std::size_t> order(requests.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
    }
    std::shuffle(order.begin(), order.end(), random);
    std::vector<generate_request> shuffled;
    std::vector<heard> expected;
    for (const auto place : order) {
      std::size_t first = 0;
      for (std::size_t i = 0; i < place; ++i) {
        first += static_cast<std::size_t>(requests[i].params.n);
      }
      shuffled.push_back(requests[place]);
      for (std::int32_t i = 0; i < requests[place].params.n; ++i) {
        expected.push_back(reference()[first + static_cast<std::size_t>(i)]);
      }
    }
    check_same(driver.run(shuffled), expected, overrides.empty() ? "defaults" : overrides.front());
  }
  return driver.settled();
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_of_the_demo_model)

BOOST_AUTO_TEST_CASE(the_workload_meets_every_kind_of_end) {
  const auto& all = reference();
  using protocol::finish_reason;
  BOOST_TEST((all[0].reason == finish_reason::length));
  BOOST_TEST(all[0].token_ids.size() == 18U);
  BOOST_TEST((all[4].reason == finish_reason::stop), "a stop string");
  BOOST_TEST((all[5].text.starts_with(all[4].text) && all[5].text.size() > all[4].text.size()),
             "with its stop string");
  BOOST_TEST((all[6].reason == finish_reason::stop), "a stop token");
  BOOST_TEST(all[6].token_ids.back() == 13);
  BOOST_TEST(all[6].token_ids.size() > 9U, "min_tokens holds it back");
  BOOST_TEST(all[3].logprobs.size() == all[3].token_ids.size());
  BOOST_TEST(all[3].logprobs.front().top.size() == 3U);
  BOOST_TEST(!(all[10] == all[11]), "the sequences of n = 2 differ");
}

BOOST_AUTO_TEST_CASE(every_tensor_size_gives_the_same_tokens) {
  for (const int tensor : {2, 4, 8}) {
    check_split({tensor, 1, 1});
  }
}

BOOST_AUTO_TEST_CASE(every_pipeline_gives_the_same_tokens) {
  for (const auto& wanted : {split{1, 2, 1},
                             {1, 4, 1},
                             {1, 2, 1, "[3,5]"},
                             {1, 3, 1, "[5,1,2]"},
                             {1, 4, 1, "[1,2,4,1]"}}) {
    check_split(wanted);
  }
}

BOOST_AUTO_TEST_CASE(products_of_tensor_and_pipeline_give_the_same_tokens) {
  for (const auto& wanted : {split{2, 2, 1}, {4, 2, 1}, {2, 4, 1, "[1,3,3,1]"}, {2, 3, 1}}) {
    check_split(wanted);
  }
}

BOOST_AUTO_TEST_CASE(replicas_give_the_same_tokens) {
  for (const auto& wanted :
       {split{1, 1, 2}, {2, 1, 2}, {4, 1, 2}, {1, 2, 2, "[2,6]"}, {2, 2, 2}, {1, 4, 2}}) {
    check_split(wanted);
  }
}

BOOST_AUTO_TEST_CASE(company_changes_no_token) {
  check_in_company({});
}

BOOST_AUTO_TEST_CASE(the_prefix_cache_changes_no_token) {
  const auto status = check_in_company({"scheduler.prefix_cache=true", "parallel.tensor=2"});
  BOOST_TEST(status.prefix_hits > 0U);
}

BOOST_AUTO_TEST_CASE(chunks_of_a_prompt_change_no_token) {
  check_in_company(
      {"scheduler.max_batch_tokens=16", "scheduler.max_sequences=8", "scheduler.prefill_chunk=7"});
  check_in_company(
      {"scheduler.prefill_chunk=1", "scheduler.max_sequences=4", "parallel.pipeline=2"});
}

BOOST_AUTO_TEST_CASE(preemption_changes_no_token) {
  // 12 blocks hold one sequence of 192 tokens, and only a part of what runs here.
  const std::string block_bytes = std::to_string(65536 * 13);
  const auto status =
      check_in_company({"device.kv_cache_bytes=" + block_bytes, "scheduler.prefix_cache=false"});
  BOOST_TEST(status.preemptions > 0U);
  const auto cached =
      check_in_company({"device.kv_cache_bytes=" + block_bytes, "scheduler.prefix_cache=true"});
  BOOST_TEST(cached.preemptions > 0U);
}

BOOST_AUTO_TEST_CASE(greedy_tokens_are_those_of_transformers) {
  std::ifstream file(VDIST_SOURCE_DIR "/tests/golden/models/tiny_tales.json");
  const auto golden = nlohmann::json::parse(file);
  engine_driver driver(tiny_tales_config(),
                       {"model.dtype=float32", "parallel.tensor=2", "parallel.pipeline=2"});
  std::vector<generate_request> requests;
  for (const auto& one : golden["cases"]) {
    auto request = request_of(one["prompt"], static_cast<std::int32_t>(one["greedy_ids"].size()));
    request.params.ignore_eos = true;
    requests.push_back(request);
  }
  const auto got = driver.run(requests);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto expected = golden["cases"][i]["greedy_ids"].get<std::vector<token_id>>();
    BOOST_TEST(got[i].token_ids == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()
