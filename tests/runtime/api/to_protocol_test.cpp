#include "runtime/api/to_protocol.hpp"

#include <boost/test/unit_test.hpp>

#include <limits>
#include <set>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::api;

namespace {

const std::vector<token_id> prompt{1, 2, 3};
const std::vector<token_id> eos{2, 9};
const model_limits limits{
    .vocabulary = 100, .max_model_len = 16, .eos_ids = eos, .default_max_tokens = std::nullopt};

protocol::request made(const sampling_params& params, const model_limits& with = limits) {
  const auto request = make_request(prompt, params, 42, with);
  BOOST_REQUIRE_MESSAGE(request.has_value(),
                        (request.has_value() ? std::string() : request.error().context));
  return *request;
}

std::string refused(const std::vector<token_id>& ids, const sampling_params& params) {
  const auto request = make_request(ids, params, 42, limits);
  BOOST_REQUIRE(!request.has_value());
  BOOST_TEST((request.error().code == errc::invalid_argument));
  return request.error().context;
}

} // namespace

BOOST_AUTO_TEST_SUITE(records)

BOOST_AUTO_TEST_CASE(every_sampling_value_reaches_the_record) {
  sampling_params p;
  p.temperature = 0.5F;
  p.top_p = 0.25F;
  p.min_p = 0.125F;
  p.top_k = 7;
  p.repetition_penalty = 1.5F;
  p.presence_penalty = -1;
  p.frequency_penalty = 2;
  p.min_tokens = 3;
  p.logprobs = 5;
  const protocol::sampling_record r = to_record(p, 99);
  BOOST_TEST(r.seed == 99U);
  BOOST_TEST(r.temperature == 0.5F);
  BOOST_TEST(r.top_p == 0.25F);
  BOOST_TEST(r.min_p == 0.125F);
  BOOST_TEST(r.top_k == 7);
  BOOST_TEST(r.repetition_penalty == 1.5F);
  BOOST_TEST(r.presence_penalty == -1.0F);
  BOOST_TEST(r.frequency_penalty == 2.0F);
  BOOST_TEST(r.min_tokens == 3);
  BOOST_TEST(r.logprobs == 5);
}

BOOST_AUTO_TEST_CASE(greedy_is_neutral_and_small_temperatures_are_raised) {
  sampling_params p;
  p.temperature = 0;
  p.top_k = 5;
  p.top_p = 0.5F;
  p.min_p = 0.5F;
  const protocol::sampling_record greedy = to_record(p, 1);
  BOOST_TEST(greedy.temperature == 0.0F);
  BOOST_TEST(greedy.top_k == 0);
  BOOST_TEST(greedy.top_p == 1.0F);
  BOOST_TEST(greedy.min_p == 0.0F);
  BOOST_TEST(greedy.logprobs == -1);
  p.temperature = 1e-6F;
  p.top_k = -1;
  BOOST_TEST(to_record(p, 1).temperature == temperature_min_sampled);
  BOOST_TEST(to_record(p, 1).top_k == 0);
}

BOOST_AUTO_TEST_CASE(sequences_of_one_request_have_different_seeds) {
  std::set<std::uint64_t> seeds;
  for (std::int32_t i = 0; i < 1000; ++i) {
    seeds.insert(sequence_seed(7, i));
  }
  BOOST_TEST(seeds.size() == 1000U);
  BOOST_TEST(sequence_seed(7, 0) == 7U);
  BOOST_TEST(sequence_seed(7, 3) == sequence_seed(7, 3));
}

BOOST_AUTO_TEST_CASE(a_request_carries_ends_and_bias) {
  sampling_params p;
  p.max_tokens = 4;
  p.ignore_eos = true;
  p.stop_token_ids = {50};
  p.priority = -2;
  p.logit_bias = {{4, 500.0F}, {5, -std::numeric_limits<float>::infinity()}};
  const protocol::request r = made(p);
  BOOST_TEST(r.prompt == prompt, boost::test_tools::per_element());
  BOOST_TEST(r.max_tokens == 4);
  BOOST_TEST(r.ignore_eos);
  BOOST_TEST(r.eos_ids == eos, boost::test_tools::per_element());
  BOOST_TEST(r.stop_token_ids.at(0) == 50);
  BOOST_TEST(r.priority == -2);
  BOOST_TEST(r.logit_bias.at(0).second == 100.0F);
  BOOST_TEST(r.logit_bias.at(1).second == -100.0F);
  BOOST_TEST(r.sampling.seed == 42U);
}

BOOST_AUTO_TEST_CASE(max_tokens_is_the_user_s_or_the_model_s_or_the_rest_of_the_context) {
  sampling_params p;
  BOOST_TEST(made(p).max_tokens == 13);
  model_limits with = limits;
  with.default_max_tokens = 5;
  BOOST_TEST(made(p, with).max_tokens == 5);
  with.default_max_tokens = 500;
  BOOST_TEST(made(p, with).max_tokens == 13);
  with.default_max_tokens = 5;
  p.min_tokens = 8;
  BOOST_TEST(made(p, with).max_tokens == 8);
  p.max_tokens = 13;
  BOOST_TEST(made(p, with).max_tokens == 13);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_the_model_is_refused_with_both_lengths) {
  sampling_params p;
  p.max_tokens = 14;
  BOOST_TEST(refused(prompt, p)
             == "request: prompt and generated tokens exceed the context (prompt_tokens=3, "
                "max_tokens=14, max_model_len=16)");
  BOOST_TEST(refused(std::vector<token_id>(16, 1), {})
                 .find("prompt_tokens=16, min_tokens=1, max_model_len=16")
             != std::string::npos);
  BOOST_TEST(refused({}, {}) == "request: the prompt has no tokens; legal: at least 1");
  BOOST_TEST(refused({1, 100}, {})
             == "request: token id in prompt is outside the vocabulary (id=100); legal: 0 to 99");
  BOOST_TEST(refused({-1}, {}).find("id=-1") != std::string::npos);
  sampling_params stop;
  stop.stop_token_ids = {100};
  BOOST_TEST(refused(prompt, stop).find("stop_token_ids") != std::string::npos);
  sampling_params bias;
  bias.logit_bias = {{100, 1.0F}};
  BOOST_TEST(refused(prompt, bias).find("logit_bias") != std::string::npos);
  sampling_params bad;
  bad.top_p = 0;
  BOOST_TEST(refused(prompt, bad).find("top_p") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
