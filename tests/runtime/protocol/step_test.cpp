// What validate() lets a worker see (step.hpp). Every refusal starts from a plan that is accepted.
#include "runtime/protocol/step.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <string>

using namespace vdist;
using namespace vdist::protocol;

BOOST_AUTO_TEST_SUITE(step_suite)

namespace {

constexpr plan_limits limits{.slots = 4,
                             .blocks = 8,
                             .vocabulary = 10,
                             .max_positions = 12,
                             .block_size = 4,
                             .store_slots = 5,
                             .saves_max = 2};

/// A new sequence of three tokens, and one that goes on with a fed token.
step_plan accepted_plan() {
  step_plan plan;
  plan.step = 7;
  plan.slots = {2, 0};
  plan.request_ids = {5, 6};
  plan.flags = {flag_new | flag_samples | flag_feeds, flag_samples};
  plan.first_position = {0, 4};
  plan.token_counts = {3, 1};
  plan.block_counts = {1, 1};
  plan.new_blocks = {3, 1};
  plan.tokens = {1, 2, 9, fed_token};
  plan.sampling.resize(1);
  return plan;
}

std::string refusal(const std::function<void(step_plan&)>& damage) {
  auto plan = accepted_plan();
  damage(plan);
  const auto outcome = validate(plan, limits);
  if (outcome) {
    return "accepted";
  }
  BOOST_CHECK(outcome.error().code == errc::corrupt);
  const auto& text = outcome.error().context;
  return text.substr(0, text.find(" ("));
}

} // namespace

BOOST_AUTO_TEST_CASE(accepts_a_plan_that_feeds_tokens) { // P-8
  BOOST_TEST(refusal([](step_plan&) {}) == "accepted");
  BOOST_TEST(refusal([](step_plan& plan) { plan.tokens[3] = 4; }) == "accepted");
}

BOOST_AUTO_TEST_CASE(refuses_a_fed_token_where_it_must_be_known) { // P-8
  constexpr auto text = "step plan: token id out of range, or fed where it must be known";
  for (const std::size_t i : {0U, 2U}) { // of a new sequence
    BOOST_TEST(refusal([i](step_plan& plan) { plan.tokens[i] = fed_token; }) == text);
  }
  BOOST_TEST(refusal([](step_plan& plan) { // one of two tokens
               plan.token_counts[1] = 2;
               plan.tokens.push_back(1);
             })
             == text);
  BOOST_TEST(refusal([](step_plan& plan) { // a whole new sequence of one token
               plan.token_counts[0] = 1;
               plan.tokens = {fed_token, fed_token};
             })
             == text);
}

BOOST_AUTO_TEST_CASE(refuses_token_ids_outside_the_vocabulary) {
  for (const token_id token : {-2, 10, 1 << 30}) {
    for (const std::size_t i : {1U, 3U}) {
      BOOST_TEST(refusal([i, token](step_plan& plan) { plan.tokens[i] = token; })
                 == "step plan: token id out of range, or fed where it must be known");
    }
  }
}

BOOST_AUTO_TEST_CASE(refuses_to_feed_what_is_not_sampled) { // P-9
  BOOST_TEST(refusal([](step_plan& plan) { plan.flags[1] = flag_feeds; })
             == "step plan: a sequence feeds and does not sample");
}

BOOST_AUTO_TEST_CASE(refuses_columns_that_do_not_add_up) {
  constexpr auto text = "step plan: flattened columns do not add up";
  BOOST_TEST(refusal([](step_plan& plan) { plan.tokens.pop_back(); }) == text);
  BOOST_TEST(refusal([](step_plan& plan) { plan.tokens.clear(); }) == text);
  BOOST_TEST(refusal([](step_plan& plan) { plan.new_blocks.push_back(1); }) == text);
  BOOST_TEST(refusal([](step_plan& plan) { plan.sampling.emplace_back(); }) == text);
  BOOST_TEST(refusal([](step_plan& plan) { plan.flags.pop_back(); })
             == "step plan: columns differ in length");
}

BOOST_AUTO_TEST_CASE(refuses_copies_to_and_from_what_is_not_there) { // P-10, P-11
  const auto with = [](std::vector<block_copy> saves, std::vector<block_copy> loads) {
    return refusal([&saves, &loads](step_plan& plan) {
      plan.saves = saves;
      plan.loads = loads;
    });
  };
  BOOST_TEST(with({{7, 4}, {0, 0}}, {{1, 1}, {2, 1}, {3, 3}}) == "accepted");
  BOOST_TEST(with({{1, 1}, {2, 2}, {3, 3}}, {})
             == "step plan: too many blocks are saved or loaded");
  BOOST_TEST(with({}, std::vector<block_copy>(9))
             == "step plan: too many blocks are saved or loaded");
  constexpr auto text = "step plan: a block that is saved or loaded, or its slot, is out of range";
  for (const block_copy wrong : {block_copy{8, 0}, {-1, 0}, {0, 5}, {0, -1}}) {
    BOOST_TEST(with({wrong}, {}) == text);
    BOOST_TEST(with({}, {wrong}) == text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
