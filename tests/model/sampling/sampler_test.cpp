#include "model/sampling/sampler.hpp"

#include "model/sampling/philox.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

using namespace vdist;
using namespace vdist::sampling;

namespace {

struct fixture {
  std::vector<float> logits;
  protocol::sampling_record record;
  std::vector<token_id> tokens;
  std::vector<token_id> bias_ids;
  std::vector<float> bias_values;
  std::vector<token_id> suppressed;
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;

  choice run(sampler& with) {
    auto scratch = logits;
    top_ids.clear();
    top_logprobs.clear();
    return with.sample(
        scratch, {record, tokens, bias_ids, bias_values, suppressed}, top_ids, top_logprobs);
  }

  choice run() {
    sampler fresh(static_cast<std::int32_t>(logits.size()));
    return run(fresh);
  }
};

fixture random_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  fixture f;
  f.logits.resize(5 + random() % 300);
  for (auto& logit : f.logits) {
    logit = random() % 8 == 0 ? 1.5F : normal(random); // ties happen
  }
  const auto vocabulary = static_cast<std::int32_t>(f.logits.size());
  for (std::size_t i = 0, n = 1 + random() % 40; i < n; ++i) {
    f.tokens.push_back(static_cast<token_id>(random() % static_cast<std::uint32_t>(vocabulary)));
  }
  auto& r = f.record;
  r.seed = random();
  r.prompt_tokens = static_cast<std::int32_t>(1 + random() % f.tokens.size());
  r.temperature = std::array{0.0F, 0.3F, 1.0F, 1.7F}[random() % 4];
  r.top_k = std::array{0, 1, 5, 1000}[random() % 4];
  r.top_p = std::array{1.0F, 0.9F, 0.5F, 0.01F}[random() % 4];
  r.min_p = std::array{0.0F, 0.05F, 0.5F}[random() % 3];
  r.repetition_penalty = std::array{1.0F, 1.3F, 0.8F}[random() % 3];
  r.presence_penalty = std::array{0.0F, 0.7F}[random() % 2];
  r.frequency_penalty = std::array{0.0F, 0.4F, -0.2F}[random() % 3];
  return f;
}

/// The slow definition: double everywhere, full sorts, sets. Returns the ids that may be drawn with
/// their probabilities, in candidate order.
std::vector<std::pair<token_id, double>> reference(const fixture& f) {
  const auto& r = f.record;
  std::vector<float> logits = f.logits;
  const auto generated = static_cast<std::int64_t>(f.tokens.size()) - r.prompt_tokens;
  for (std::size_t i = 0; i < f.bias_ids.size(); ++i) {
    logits[static_cast<std::size_t>(f.bias_ids[i])] += f.bias_values[i];
  }
  if (generated < r.min_tokens) {
    for (const auto id : f.suppressed) {
      logits[static_cast<std::size_t>(id)] = -INFINITY;
    }
  }
  const std::set<token_id> seen(f.tokens.begin(), f.tokens.end());
  for (const auto id : seen) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / r.repetition_penalty : logit * r.repetition_penalty;
    const auto n = std::count(f.tokens.begin() + r.prompt_tokens, f.tokens.end(), id);
    if (n > 0) {
      logit -= r.frequency_penalty * static_cast<float>(n) + r.presence_penalty;
    }
  }
  std::vector<token_id> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&logits](token_id a, token_id b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  if (r.temperature <= 0) {
    return {{order[0], 1.0}};
  }
  if (r.top_k > 0 && static_cast<std::size_t>(r.top_k) < order.size()) {
    order.resize(static_cast<std::size_t>(r.top_k));
  }
  std::vector<std::pair<token_id, double>> kept;
  const double largest = logits[static_cast<std::size_t>(order[0])];
  for (const auto id : order) {
    const double p = std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - largest)
                              / static_cast<double>(r.temperature));
    if (p >= static_cast<double>(r.min_p)) {
      kept.emplace_back(id, p);
    }
  }
  double total = 0;
  for (const auto& [id, p] : kept) {
    total += p;
  }
  double reached = 0;
  std::size_t count = 0;
  while (count < kept.size() && (count == 0 || reached < static_cast<double>(r.top_p) * total)) {
    reached += kept[count++].second;
  }
  if (r.top_p < 1) {
    kept.resize(count);
  }
  return kept;
}

} // namespace

BOOST_AUTO_TEST_CASE(greedy_takes_the_largest_logit_and_the_smallest_id_among_equals) {
  fixture f;
  f.logits = {1, 5, 2, 5};
  BOOST_TEST(f.run().token == 1);
}

BOOST_AUTO_TEST_CASE(every_drawn_token_is_one_that_the_definition_allows) {
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    auto f = random_case(seed);
    const auto allowed = reference(f);
    const auto token = f.run().token;
    BOOST_REQUIRE_MESSAGE(std::any_of(allowed.begin(),
                                      allowed.end(),
                                      [token](const auto& a) { return a.first == token; }),
                          "seed " << seed << " drew " << token);
  }
}

BOOST_AUTO_TEST_CASE(frequencies_of_draws_follow_the_definition) {
  for (std::uint32_t seed : {3U, 11U, 26U, 40U}) {
    auto f = random_case(seed);
    f.record.temperature = 1;
    f.record.top_k = 6;
    f.record.frequency_penalty = 0;
    auto allowed = reference(f);
    double total = 0;
    for (const auto& [id, p] : allowed) {
      total += p;
    }
    sampler reused(static_cast<std::int32_t>(f.logits.size()));
    std::vector<int> drawn(f.logits.size());
    constexpr int draws = 4000;
    for (int i = 0; i < draws; ++i) {
      f.record.seed = static_cast<std::uint64_t>(i);
      ++drawn[static_cast<std::size_t>(f.run(reused).token)];
    }
    for (const auto& [id, p] : allowed) {
      BOOST_TEST(std::abs(drawn[static_cast<std::size_t>(id)] / double{draws} - p / total) < 0.035,
                 "seed " << seed << " id " << id);
    }
  }
}

BOOST_AUTO_TEST_CASE(s1_a_used_sampler_gives_the_token_of_a_fresh_one) {
  sampler reused(400);
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    auto f = random_case(seed);
    f.logits.resize(400, -20.0F);
    BOOST_REQUIRE(f.run(reused).token == f.run().token);
  }
}

BOOST_AUTO_TEST_CASE(min_tokens_suppresses_the_end_until_enough_was_generated) {
  fixture f;
  f.logits = {9, 1, 0};
  f.tokens = {2, 1};
  f.record.prompt_tokens = 1;
  f.record.min_tokens = 2;
  f.suppressed = {0};
  BOOST_TEST(f.run().token == 1);
  f.tokens = {2, 1, 1};
  BOOST_TEST(f.run().token == 0);
}

BOOST_AUTO_TEST_CASE(logit_bias_moves_the_choice_and_foreign_ids_are_ignored) {
  fixture f;
  f.logits = {3, 2, 1};
  f.bias_ids = {2, 77, -1};
  f.bias_values = {100, 100, 100};
  BOOST_TEST(f.run().token == 2);
}

BOOST_AUTO_TEST_CASE(log_probabilities_are_those_of_the_untouched_logits) {
  fixture f;
  f.logits = {1, 2, 3, 3};
  f.bias_ids = {0};
  f.bias_values = {100};
  f.record.logprobs = 2;
  const auto chosen = f.run();
  const double normaliser = std::log(std::exp(1.0) + std::exp(2.0) + 2 * std::exp(3.0));
  BOOST_TEST(chosen.token == 0);
  BOOST_TEST(std::abs(static_cast<double>(chosen.logprob) - (1 - normaliser)) < 1e-6);
  BOOST_TEST((f.top_ids == std::vector<std::int32_t>{2, 3}));
  BOOST_TEST(std::abs(static_cast<double>(f.top_logprobs[0]) - (3 - normaliser)) < 1e-6);
}

BOOST_AUTO_TEST_CASE(no_log_probability_is_reported_unasked) {
  fixture f;
  f.logits = {1, 2};
  BOOST_TEST(std::isnan(f.run().logprob));
  BOOST_TEST(f.top_ids.empty());
}
