// Plans made while the steps ahead of them still run: what they say, what is dropped, who waits.
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr auto samples = protocol::flag_samples;
constexpr auto feeds = protocol::flag_feeds;

sched::scheduler_config fed_config(std::int32_t blocks, std::int32_t steps_in_flight) {
  auto config = small_config(blocks, 2, 16);
  config.max_steps_in_flight = steps_in_flight;
  config.feeds_tokens = true;
  return config;
}

/// A scheduler with hand-made results: steps are planned and committed one by one.
class by_hand {
public:
  explicit by_hand(const sched::scheduler_config& config) : scheduler(config) {}

  void add(const protocol::request& request) { BOOST_REQUIRE(scheduler.add(request)); }

  /// Empty: nothing could be planned.
  protocol::step_plan plan() {
    protocol::step_plan made;
    if (scheduler.plan(step_id(next_step_), now, made)) {
      ++next_step_;
    }
    return made;
  }

  void commit(const protocol::step_plan& plan, token_id token) {
    BOOST_REQUIRE(scheduler.commit(result_of(plan, token), events));
    BOOST_REQUIRE(scheduler.check_integrity());
  }

  sched::scheduler scheduler;
  std::vector<protocol::token_event> events;
  epoch now{1};

private:
  std::uint64_t next_step_ = 1;
};

protocol::request request_with_eos(std::uint64_t id, token_id eos, std::int32_t max_tokens = 9) {
  auto request = make_request(id, {1, 2}, max_tokens);
  request.eos_ids = {eos};
  return request;
}

} // namespace

BOOST_TEST_DONT_PRINT_LOG_VALUE(vdist::protocol::finish_reason)

BOOST_AUTO_TEST_CASE(overlap_follows_the_stages_and_the_setting) {
  BOOST_TEST(sched::overlap_of(1, true).steps_in_flight == 2);
  BOOST_TEST(sched::overlap_of(1, true).feeds_tokens);
  BOOST_TEST(sched::overlap_of(1, false).steps_in_flight == 1);
  BOOST_TEST(!sched::overlap_of(1, false).feeds_tokens);
  for (const bool is_async : {false, true}) { // P-9
    BOOST_TEST(sched::overlap_of(4, is_async).steps_in_flight == 4);
    BOOST_TEST(!sched::overlap_of(4, is_async).feeds_tokens);
  }
}

BOOST_AUTO_TEST_CASE(the_next_step_is_planned_before_its_token_is_known) { // P-8, S-1
  by_hand world(fed_config(8, 3));
  world.add(make_request(1, {1, 2, 3}, 9));
  const auto prompt = world.plan();
  BOOST_TEST(prompt.flags.at(0) == (protocol::flag_new | samples | feeds));
  for (std::int32_t position = 3; position < 5; ++position) {
    const auto next = world.plan();
    BOOST_TEST(next.tokens == std::vector<token_id>{protocol::fed_token},
               boost::test_tools::per_element());
    BOOST_TEST(next.first_position.at(0) == position);
    BOOST_TEST(next.flags.at(0) == (samples | feeds));
    BOOST_TEST(next.new_blocks.size() == (position == 4 ? 1U : 0U));
  }
  BOOST_TEST(world.plan().sequences() == 0U); // the window is full
  world.commit(prompt, 7);
  BOOST_TEST(world.events.size() == 1U);
  BOOST_TEST(world.events.at(0).token == 7);
  BOOST_TEST(world.plan().first_position.at(0) == 5);
}

BOOST_AUTO_TEST_CASE(no_step_is_planned_behind_a_length_that_is_known) { // S-8
  by_hand world(fed_config(8, 4));
  world.add(make_request(1, {1, 2, 3}, 2));
  const auto first = world.plan();
  const auto last = world.plan();
  BOOST_TEST(last.flags.at(0) == samples); // nothing may follow, so nothing has to be shared
  BOOST_TEST(world.plan().sequences() == 0U);
  world.commit(first, 7);
  BOOST_TEST(world.plan().sequences() == 0U);
  world.commit(last, 7);
  BOOST_TEST(world.events.size() == 2U);
  BOOST_TEST(world.events.at(1).reason == protocol::finish_reason::length);
  BOOST_TEST(world.scheduler.stats().tokens_dropped == 0U);
}

BOOST_AUTO_TEST_CASE(a_stop_is_seen_late_and_its_surplus_is_dropped) { // S-1, S-3, K-3
  by_hand world(fed_config(2, 2));
  world.add(request_with_eos(1, 5, 3));
  const auto last = world.plan();
  const auto surplus = world.plan();
  world.add(request_with_eos(2, 5, 3)); // the pool is too small for both
  BOOST_TEST(surplus.tokens.at(0) == protocol::fed_token);
  world.commit(last, 5);
  BOOST_TEST(world.events.size() == 1U);
  BOOST_TEST(world.events.at(0).reason == protocol::finish_reason::stop);
  BOOST_TEST(world.events.at(0).stop_token == 5);
  BOOST_TEST(!world.scheduler.cancel(request_id(1)));    // it is over
  BOOST_TEST(world.scheduler.stats().blocks_owned == 2); // and still written
  BOOST_TEST(world.plan().sequences() == 0U);
  world.commit(surplus, 6);
  BOOST_TEST(world.events.size() == 1U);
  BOOST_TEST(world.scheduler.stats().tokens_dropped == 1U);
  const auto next = world.plan();
  BOOST_TEST(next.retired_slots == std::vector<std::uint32_t>{0}, boost::test_tools::per_element());
  BOOST_TEST(next.request_ids == std::vector<std::uint64_t>{2}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(surplus_kv_never_enters_the_prefix_cache) { // S-7, K-4
  by_hand world(fed_config(8, 2));
  world.add(request_with_eos(1, 5));
  const auto prompt = world.plan();
  const auto second = world.plan();
  world.commit(prompt, 4);
  const auto surplus = world.plan(); // computes position 3, which fills the second block
  world.commit(second, 5);
  world.commit(surplus, 6);
  BOOST_TEST(world.scheduler.is_idle());
  BOOST_TEST(world.scheduler.stats().blocks_cached == 1); // [1, 2]; not [4, 5]
  world.add(make_request(2, {1, 2, 4, 5, 6}, 2));
  BOOST_TEST(world.plan().first_position.at(0) == 2);
}

BOOST_AUTO_TEST_CASE(chunks_of_one_prompt_follow_each_other_in_flight) { // S-1, S-5
  for (const bool is_fed : {false, true}) {
    auto config = small_config(16, 2, 32);
    config.max_steps_in_flight = 3;
    config.feeds_tokens = is_fed;
    config.max_batch_tokens = 4;
    by_hand world(config);
    world.add(make_request(1, {1, 2, 3, 4, 5, 6, 7, 8}, 9));
    BOOST_TEST(world.plan().first_position.at(0) == 0);
    const auto end = world.plan();
    BOOST_TEST(end.first_position.at(0) == 4);
    BOOST_TEST((end.flags.at(0) & samples) != 0);
    BOOST_TEST(world.plan().sequences() == (is_fed ? 1U : 0U));
  }
}

BOOST_AUTO_TEST_CASE(a_lost_epoch_goes_back_to_what_is_committed) { // S-1, P-3
  by_hand world(fed_config(8, 3));
  world.add(make_request(1, {1, 2, 3}, 9));
  world.add(request_with_eos(2, 5));
  const auto first = world.plan();
  (void)world.plan();
  (void)world.plan();
  world.commit(first, 5); // the second request is over, and in flight twice
  world.now = epoch(2);
  world.scheduler.start_epoch(world.now);
  BOOST_REQUIRE(world.scheduler.check_integrity());
  const auto again = world.plan();
  BOOST_TEST(again.retired_slots.empty());
  BOOST_TEST(again.sequences() == 1U);
  BOOST_TEST(again.first_position.at(0) == 3);
  BOOST_TEST(again.tokens == (std::vector<token_id>{1, 2, 3, 5}), boost::test_tools::per_element());
  BOOST_TEST(world.events.size() == 2U);
}

BOOST_AUTO_TEST_CASE(who_is_always_in_flight_still_gives_way) { // S-5, K-3
  auto config = fed_config(6, 2);
  config.prefix_cache = false;
  by_hand world(config);
  world.add(make_request(1, {1, 2, 3, 4}, 8));
  world.add(make_request(2, {5, 6, 7, 8}, 8));
  auto running = world.plan();
  auto queued = world.plan(); // one block more for each: the pool is empty
  world.commit(running, 1);
  running = queued;
  queued = world.plan();
  BOOST_TEST(queued.sequences() == 2U);
  world.commit(running, 1);
  running = queued;
  // The first needs a block. The second, in flight, is left out and gives way in the plan after.
  BOOST_TEST(world.plan().sequences() == 0U);
  world.commit(running, 1);
  BOOST_TEST(world.plan().request_ids == std::vector<std::uint64_t>{1},
             boost::test_tools::per_element());
  BOOST_TEST(world.scheduler.stats().preemptions == 1U);
  BOOST_TEST(world.events.size() == 6U); // its tokens in flight were not lost
}
