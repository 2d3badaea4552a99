// Z-1 to Z-3: what makes a step long, and by what its budget goes.
#include "actors/worker/step_size.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <limits>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

void add(protocol::step_plan& plan, std::int32_t first, std::int32_t count) {
  plan.slots.push_back(static_cast<std::uint32_t>(plan.slots.size()));
  plan.first_position.push_back(first);
  plan.token_counts.push_back(count);
}

step_size size_of_one(std::int32_t first, std::int32_t count) {
  protocol::step_plan plan;
  add(plan, first, count);
  return size_of(plan);
}

size_pace device_pace() {
  return {200ms, 30s, {.margin = 4, .remembered = 64}, 1};
}

void learn(size_pace& pace, const step_size& size, std::chrono::milliseconds elapsed) {
  for (std::uint32_t step = 0; step < step_pace::steps_to_learn; ++step) {
    pace.finished(size, elapsed);
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(z2_tokens_near_the_beginning_have_no_attention) {
  for (const std::int32_t count : {1, 7, 64, 2048, 8191}) {
    BOOST_TEST((size_of_one(0, count) == step_size{.tokens = count}), count);
  }
  BOOST_TEST((size_of_one(4095, 1) == step_size{.tokens = 1}));
  protocol::step_plan many;
  for (std::int32_t i = 0; i < 64; ++i) {
    add(many, 4000, 1);
  }
  add(many, 0, 2048);
  BOOST_TEST((size_of(many) == step_size{.tokens = 64 + 2048}), "short ones do not add up");
}

BOOST_AUTO_TEST_CASE(z2_tokens_behind_a_long_prefix_have) {
  BOOST_TEST(size_of_one(125'000, 4000).tokens == 4000);
  BOOST_TEST(size_of_one(125'000, 4000).attention == std::int64_t{4000} * 127'000 / 1024);
  BOOST_TEST(size_of_one(0, 32'768).attention == std::int64_t{32'768} * 16'384 / 1024);
}

BOOST_AUTO_TEST_CASE(z2_a_sequence_that_decodes_reads_what_it_looks_back_on) {
  protocol::step_plan many;
  for (std::int32_t i = 0; i < 64; ++i) {
    add(many, 100'000, 1);
  }
  BOOST_TEST(size_of(many).tokens == 64);
  BOOST_TEST(size_of(many).attention == 64 * (std::int64_t{32} * 100'000 / 1024));
}

BOOST_AUTO_TEST_CASE(z2_less_attention_than_tokens_does_not_matter) {
  protocol::step_plan plan;
  add(plan, 5000, 1);
  BOOST_TEST(size_of(plan).attention == std::int64_t{32} * 5000 / 1024);
  add(plan, 0, 2048);
  BOOST_TEST((size_of(plan) == step_size{.tokens = 2049}));
}

BOOST_AUTO_TEST_CASE(z2_the_largest_plans_have_a_size) {
  constexpr auto most = std::numeric_limits<std::int32_t>::max();
  protocol::step_plan plan;
  for (std::int32_t i = 0; i < 1000; ++i) {
    add(plan, most / 2, most / 2);
  }
  BOOST_TEST(size_of(plan).attention > std::int64_t{1} << 50);
  auto pace = device_pace();
  learn(pace, size_of(plan), 500ms);
  BOOST_TEST(pace.budget(size_of(plan)).count() == 4 * 500);
}

BOOST_AUTO_TEST_CASE(z1_attention_that_nobody_has_seen_has_the_first_budget) {
  auto pace = device_pace();
  learn(pace, {.tokens = 2048}, 49ms);
  BOOST_TEST(pace.budget({.tokens = 4000}).count() == 200);
  const step_size far{.tokens = 4000, .attention = 496'000};
  BOOST_TEST(pace.knows({.tokens = 4000}));
  BOOST_TEST(!pace.knows(far));
  BOOST_TEST(pace.budget(far).count() == 30'000);
  learn(pace, {.tokens = 1, .attention = 3000}, 20ms);
  BOOST_TEST(pace.budget({.tokens = 1, .attention = 2500}).count() == 200);
  BOOST_TEST(pace.budget({.tokens = 1, .attention = 5000}).count() == 4 * 20 * 4, "borrowed");
  BOOST_TEST(pace.budget(far).count() == 4 * 20 * 256);
}

/// How long a token takes, and a unit of attention, is a model's own business.
BOOST_AUTO_TEST_CASE(z1_a_budget_covers_every_ratio_of_tokens_and_attention) {
  for (const std::int64_t token_us : {1, 30, 1000}) {
    for (const std::int64_t attention_us : {1, 30, 1000}) {
      const auto time_of = [&](const step_size& size) {
        return std::chrono::ceil<std::chrono::milliseconds>(
            std::chrono::microseconds(size.tokens * token_us + size.attention * attention_us));
      };
      size_pace pace(1ms, 24h, {.margin = 4, .remembered = 64}, 1);
      const auto teach = [&](const step_size& size) {
        learn(pace, size, time_of(size));
      };
      teach({.tokens = 4096});
      teach({.tokens = 1, .attention = 4096});
      const step_size both{.tokens = 8191, .attention = 8191};
      BOOST_TEST(pace.budget(both).count() + 2 >= time_of(both).count(),
                 token_us << " us and " << attention_us << " us");
    }
  }
}

/// Of the first long prompt that a worker sees: 4,096 tokens a step, each time behind all before.
BOOST_AUTO_TEST_CASE(z3_the_chunks_of_one_prompt_teach_how_long_the_next_takes) {
  size_pace pace(200ms, 30s, {.margin = 4, .remembered = 64, .ignored = 4}, 1);
  constexpr std::int32_t chunk = 4096;
  for (std::int32_t i = 0; i < 30; ++i) {
    const auto size = size_of_one(i * chunk, chunk);
    const auto takes = std::chrono::milliseconds(55 + 10 * i);
    if (i >= 8) {
      const auto budget = pace.budget(size);
      BOOST_TEST(budget.count() >= 2 * takes.count(), i);
      BOOST_TEST(budget.count() <= 16 * takes.count(), i << ", if it is the first of its class");
      BOOST_TEST((i == 8 || i == 16 || budget.count() <= 4 * takes.count()), i);
    }
    pace.finished(size, takes);
  }
}

/// A prefix that a cache holds makes the next step one of the largest of a class of which only a small one was seen.
BOOST_AUTO_TEST_CASE(z3_one_step_says_as_much_of_larger_ones_as_they_are_larger) {
  size_pace pace(1ms, 30s, {.margin = 4, .remembered = 64}, 1);
  learn(pace, {.tokens = 4096}, 40ms);
  const step_size smallest{.tokens = 4096, .attention = 1 << 18};
  const step_size middle{.tokens = 4096, .attention = 300'000};
  const step_size largest{.tokens = 4096, .attention = (1 << 19) - 1};
  pace.finished(smallest, 300ms);
  BOOST_TEST(pace.budget(middle).count() == 4 * 300);
  BOOST_TEST(pace.budget(largest).count() == 3 * 600);
  for (std::uint32_t i = 1; i < step_pace::steps_to_learn; ++i) {
    pace.finished(smallest, 300ms);
  }
  BOOST_TEST(pace.budget(largest).count() == 4 * 300);
}

BOOST_AUTO_TEST_CASE(z3_who_is_less_regular_sees_more_of_them) {
  size_pace pace(200ms, 30s, {}, step_pace::steps_to_learn);
  learn(pace, {.tokens = 4000}, 50ms);
  const step_size far{.tokens = 4000, .attention = 496'000};
  for (std::uint32_t i = 1; i < step_pace::steps_to_learn; ++i) {
    pace.finished(far, 500ms);
    BOOST_TEST(!pace.knows(far));
  }
  BOOST_TEST(pace.budget(far).count() == 30'000);
  pace.finished(far, 500ms);
  BOOST_TEST(pace.budget(far).count() == 8 * 500);
}

BOOST_AUTO_TEST_CASE(z3_what_loads_and_records_says_nothing_of_attention) {
  size_pace pace(1ms, 30s, {.margin = 4, .remembered = 64, .ignored = 4}, 1);
  const step_size far{.tokens = 4000, .attention = 496'000};
  for (int i = 0; i < 4; ++i) {
    pace.finished(far, 5s);
  }
  BOOST_TEST(!pace.knows(far));
  for (int i = 0; i < 4; ++i) {
    pace.finished(far, 100ms);
  }
  BOOST_TEST(pace.knows(far));
  BOOST_TEST(pace.budget(far).count() == 4 * 100);
}

BOOST_AUTO_TEST_CASE(z1_who_comes_after_inherits_both) {
  auto pace = device_pace();
  pace_words left;
  learn(pace, {.tokens = 2048}, 49ms);
  pace.leave({.tokens = 2048}, left);
  const step_size far{.tokens = 4000, .attention = 496'000};
  auto next = device_pace();
  BOOST_TEST(next.budget({.tokens = 4000}, left, 3).count() == 3 * 200);
  BOOST_TEST(next.budget(far, left, 3).count() == 30'000, "no predecessor has seen that");
  learn(pace, far, 880ms);
  pace.leave(far, left);
  BOOST_TEST(next.budget(far, left, 3).count() == 3 * 4 * 880);
  BOOST_TEST(next.budget({.tokens = 1 << 20}, left, 3).count() == 30'000,
             "attention is no number of tokens");
}
