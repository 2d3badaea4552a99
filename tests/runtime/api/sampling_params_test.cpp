#include "runtime/api/sampling_params.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <limits>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::api;

namespace {

using change = std::function<void(sampling_params&)>;

sampling_params changed(const change& c) {
  sampling_params p;
  c(p);
  return p;
}

struct refusal {
  change make;
  std::string message;
};

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();

} // namespace

BOOST_AUTO_TEST_SUITE(sampling)

BOOST_AUTO_TEST_CASE(defaults_are_valid) {
  BOOST_TEST(validate(sampling_params{}).has_value());
}

BOOST_AUTO_TEST_CASE(the_ends_of_every_range_are_valid) {
  const std::vector<change> changes{
      [](auto& p) { p.temperature = 0; },
      [](auto& p) { p.temperature = 2; },
      [](auto& p) { p.top_p = 1e-6F; },
      [](auto& p) { p.top_k = -1; },
      [](auto& p) { p.top_k = 1 << 30; },
      [](auto& p) { p.min_p = 1; },
      [](auto& p) { p.repetition_penalty = 1e-3F; },
      [](auto& p) { p.presence_penalty = -2; },
      [](auto& p) { p.frequency_penalty = 2; },
      [](auto& p) {
        p.logit_bias = {{0, -inf}, {5, 1000}};
      },
      [](auto& p) { p.max_tokens = 1; },
      [](auto& p) { p.min_tokens = 5, p.max_tokens = 5; },
      [](auto& p) { p.stop.assign(stop_strings_max, std::string(stop_string_bytes_max, 'x')); },
      [](auto& p) { p.stop_token_ids.assign(stop_token_ids_max, 0); },
      [](auto& p) { p.n = n_max; },
      [](auto& p) { p.logprobs = 0; },
      [](auto& p) { p.logprobs = logprobs_max; },
      [](auto& p) { p.priority = -1000; },
  };
  for (const change& c : changes) {
    const auto checked = validate(changed(c));
    BOOST_TEST(checked.has_value(),
               (checked.has_value() ? std::string() : checked.error().context));
  }
}

BOOST_AUTO_TEST_CASE(a_refusal_names_parameter_value_and_legal_range) {
  const std::vector<refusal> refusals{
      {[](auto& p) { p.temperature = -0.5F; },
       "sampling: temperature is out of range (temperature=-0.5); legal: 0 to 2, 0 is greedy"},
      {[](auto& p) { p.temperature = 2.5F; },
       "sampling: temperature is out of range (temperature=2.5); legal: 0 to 2, 0 is greedy"},
      {[](auto& p) { p.temperature = nan; },
       "sampling: temperature is out of range (temperature=nan); legal: 0 to 2, 0 is greedy"},
      {[](auto& p) { p.top_p = 0; },
       "sampling: top_p is out of range (top_p=0); legal: above 0 to 1"},
      {[](auto& p) { p.top_p = 1.5F; },
       "sampling: top_p is out of range (top_p=1.5); legal: above 0 to 1"},
      {[](auto& p) { p.top_k = -2; },
       "sampling: top_k is out of range (top_k=-2); legal: at least 1, or 0 or -1 for all tokens"},
      {[](auto& p) { p.min_p = nan; },
       "sampling: min_p is out of range (min_p=nan); legal: 0 to 1"},
      {[](auto& p) { p.repetition_penalty = 0; },
       "sampling: repetition_penalty is out of range (repetition_penalty=0); legal: above 0"},
      {[](auto& p) { p.repetition_penalty = inf; },
       "sampling: repetition_penalty is out of range (repetition_penalty=inf); legal: above 0"},
      {[](auto& p) { p.presence_penalty = 3; },
       "sampling: presence_penalty is out of range (presence_penalty=3); legal: -2 to 2"},
      {[](auto& p) { p.frequency_penalty = -3; },
       "sampling: frequency_penalty is out of range (frequency_penalty=-3); legal: -2 to 2"},
      {[](auto& p) {
         p.logit_bias = {{-1, 1}};
       },
       "sampling: logit_bias is out of range (logit_bias=-1); legal: token ids from 0, rising, "
       "each at most once"},
      {[](auto& p) {
         p.logit_bias = {{3, 1}, {3, 2}};
       },
       "sampling: logit_bias is out of range (logit_bias=3); legal: token ids from 0, rising, each "
       "at most once"},
      {[](auto& p) {
         p.logit_bias = {{3, nan}};
       },
       "sampling: logit_bias is out of range (logit_bias=nan); legal: numbers"},
      {[](auto& p) { p.logit_bias.resize(logit_bias_entries_max + 1); },
       "sampling: logit_bias is out of range (logit_bias=1025); legal: at most 1024 entries"},
      {[](auto& p) { p.max_tokens = 0; },
       "sampling: max_tokens is out of range (max_tokens=0); legal: at least 1"},
      {[](auto& p) { p.min_tokens = -1; },
       "sampling: min_tokens is out of range (min_tokens=-1); legal: at least 0"},
      {[](auto& p) { p.min_tokens = 9, p.max_tokens = 8; },
       "sampling: min_tokens is out of range (min_tokens=9); legal: 0 to max_tokens, which is 8"},
      {[](auto& p) { p.stop.resize(5, "x"); },
       "sampling: stop is out of range (stop=5); legal: at most 4 strings"},
      {[](auto& p) { p.stop = {""}; },
       "sampling: stop is out of range (stop=0); legal: strings of 1 to 1024 bytes"},
      {[](auto& p) { p.stop = {"\xff"}; }, "sampling: stop is not valid utf-8; legal: text"},
      {[](auto& p) {
         p.stop_token_ids = {4, -7};
       },
       "sampling: stop_token_ids is out of range (stop_token_ids=-7); legal: token ids, none "
       "negative"},
      {[](auto& p) { p.n = 0; }, "sampling: n is out of range (n=0); legal: 1 to 16384"},
      {[](auto& p) { p.n = 2, p.temperature = 0; },
       "sampling: n is out of range (n=2); legal: 1 when temperature is 0, since greedy sequences "
       "are all the same"},
      {[](auto& p) { p.logprobs = 21; },
       "sampling: logprobs is out of range (logprobs=21); legal: 0 to 20"},
      {[](auto& p) { p.logprobs = -1; },
       "sampling: logprobs is out of range (logprobs=-1); legal: 0 to 20"},
  };
  for (const refusal& r : refusals) {
    const auto checked = validate(changed(r.make));
    BOOST_REQUIRE_MESSAGE(!checked.has_value(), "was accepted: " << r.message);
    BOOST_TEST((checked.error().code == errc::invalid_argument));
    BOOST_TEST(checked.error().context == r.message);
  }
}

BOOST_AUTO_TEST_SUITE_END()
