// What each rule of scheduler.hpp means in the smallest case that shows it.
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <limits>
#include <set>

using namespace vdist;
using namespace vdist::testing;

namespace {

errc code_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

} // namespace

BOOST_TEST_DONT_PRINT_LOG_VALUE(vdist::errc)
BOOST_TEST_DONT_PRINT_LOG_VALUE(vdist::protocol::finish_reason)

BOOST_AUTO_TEST_CASE(refuses_a_request_that_can_never_run) {
  auto config = small_config(4, 2, 16);
  config.max_waiting = 2;
  sched::scheduler scheduler(config);
  const auto code = [&scheduler](protocol::request request) {
    return code_of(scheduler.add(std::move(request)));
  };
  BOOST_TEST(code(make_request(1, {}, 4)) == errc::invalid_argument);
  BOOST_TEST(code(make_request(1, std::vector<token_id>(16, 1), 4)) == errc::invalid_argument);
  BOOST_TEST(code(make_request(1, {1, 13}, 4)) == errc::invalid_argument);
  BOOST_TEST(code(make_request(1, {1, -1}, 4)) == errc::invalid_argument);
  BOOST_TEST(code(make_request(1, {1}, 0)) == errc::invalid_argument);
  auto biased = make_request(1, {1}, 1);
  biased.logit_bias = {{2, std::numeric_limits<float>::quiet_NaN()}};
  BOOST_TEST(code(biased) == errc::invalid_argument);
  // Nine stored tokens need five blocks of two; the tenth is never stored.
  BOOST_TEST(code(make_request(1, {1, 2}, 8)) == errc::resource_exhausted);
  BOOST_TEST(code(make_request(1, {1, 2}, 7)) == errc::ok);
  BOOST_TEST(code(make_request(1, {1, 2}, 7)) == errc::invalid_argument);
  BOOST_TEST(code(make_request(2, {1, 2}, 7)) == errc::ok);
  BOOST_TEST(code(make_request(3, {1, 2}, 7)) == errc::queue_full);
}

BOOST_AUTO_TEST_CASE(names_the_setting_that_is_out_of_range) {
  auto config = small_config(4, 2, 16);
  BOOST_TEST(code_of(sched::validate(config)) == errc::ok);
  config.max_batch_tokens = 0;
  const auto outcome = sched::validate(config);
  BOOST_TEST(outcome.error().code == errc::bad_configuration);
  BOOST_TEST(outcome.error().context.find("max_batch_tokens") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(splits_a_prompt_into_chunks_beside_decoding_sequences) {
  auto config = small_config(64, 4, 64);
  config.max_batch_tokens = 6;
  sched_harness world(config);
  world.add(make_request(1, {1, 2, 3}, 20));
  BOOST_TEST(world.submit());
  world.retire();
  world.add(make_request(2, std::vector<token_id>(12, 5), 4));
  for (const std::int32_t chunk : {5, 5, 2}) {
    BOOST_TEST(world.submit());
    BOOST_TEST((world.last_plan().token_counts == std::vector<std::int32_t>{1, chunk}));
    const auto samples = (world.last_plan().flags[1] & protocol::flag_samples) != 0;
    BOOST_TEST(samples == (chunk == 2));
    world.retire();
  }
  world.drain(100);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(plans_carry_differences_only) { // P-3, P-4
  auto config = small_config(16, 2, 16);
  config.max_sequences = 1;
  sched_harness world(config);
  world.add(make_request(1, {1, 2, 3}, 4));
  world.add(make_request(2, {4}, 1));
  world.submit();
  BOOST_TEST((world.last_plan().tokens == std::vector<std::int32_t>{1, 2, 3}));
  BOOST_TEST(world.last_plan().new_blocks.size() == 2U);
  world.retire();
  world.submit(); // position 3 is in the second block
  BOOST_TEST(world.last_plan().flags.at(0) == protocol::flag_samples);
  BOOST_TEST(world.last_plan().tokens.size() == 1U);
  BOOST_TEST(world.last_plan().new_blocks.empty());
  world.retire();
  world.submit(); // position 4 needs a third
  BOOST_TEST(world.last_plan().new_blocks.size() == 1U);
  world.retire();
  world.submit();
  world.retire();
  BOOST_TEST(world.has_ended(request_id(1)));
  world.submit(); // the only slot is forgotten and used again
  BOOST_TEST((world.last_plan().retired_slots == std::vector<std::uint32_t>{0}));
  BOOST_TEST((world.last_plan().slots == std::vector<std::uint32_t>{0}));
  world.drain(10);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(a_new_epoch_announces_everything_again) {
  sched_harness world(small_config(16, 2, 16));
  world.add(make_request(1, {1, 2, 3}, 6));
  world.add(make_request(2, {4, 5}, 6));
  world.submit();
  world.retire();
  world.submit();
  world.fence();
  world.submit();
  const auto& plan = world.last_plan();
  BOOST_TEST(plan.epoch == 2U);
  BOOST_TEST(plan.retired_slots.empty());
  BOOST_TEST((plan.first_position == std::vector<std::int32_t>{3, 2})); // committed KV is kept
  BOOST_TEST((plan.token_counts == std::vector<std::int32_t>{1, 1}));
  BOOST_TEST(plan.sampling.size() == 2U);
  BOOST_TEST(plan.tokens.size() == 7U);
  world.drain(20);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(a_result_is_committed_once_in_order_and_in_its_epoch) { // S-2, I4
  auto config = small_config(16, 2, 16);
  config.max_steps_in_flight = 2;
  config.max_batch_tokens = 2;
  sched::scheduler scheduler(config);
  std::vector<protocol::token_event> events;
  BOOST_TEST(code_of(scheduler.add(make_request(1, {1, 2}, 4))) == errc::ok);
  BOOST_TEST(code_of(scheduler.add(make_request(2, {3, 4}, 4))) == errc::ok);
  protocol::step_plan first;
  protocol::step_plan second;
  protocol::step_plan third;
  BOOST_TEST(scheduler.plan(step_id(1), epoch(1), first));
  BOOST_TEST(scheduler.plan(step_id(2), epoch(1), second));
  BOOST_TEST(!scheduler.plan(step_id(3), epoch(1), third)); // the window is full
  BOOST_TEST(code_of(scheduler.commit(result_of(second, 1), events)) == errc::corrupt);
  auto wrong = result_of(first, 1);
  wrong.tokens.push_back(1);
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::corrupt);
  wrong = result_of(first, 13);
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::corrupt);
  wrong = result_of(first, 1);
  wrong.slots[0] += 1;
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::corrupt);
  wrong = result_of(first, 1);
  wrong.top_counts = {1};
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::corrupt);
  wrong = result_of(first, 1);
  wrong.status = static_cast<std::int16_t>(errc::internal);
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::aborted);
  wrong = result_of(first, 1);
  wrong.epoch = 2;
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::corrupt);
  wrong.epoch = 0;
  BOOST_TEST(code_of(scheduler.commit(wrong, events)) == errc::stale);
  BOOST_TEST(events.empty());
  BOOST_TEST(code_of(scheduler.commit(result_of(first, 1), events)) == errc::ok);
  BOOST_TEST(events.size() == 1U);
  BOOST_TEST(code_of(scheduler.commit(result_of(first, 1), events)) == errc::stale);
  scheduler.start_epoch(epoch(2));
  BOOST_TEST(code_of(scheduler.commit(result_of(second, 1), events)) == errc::stale);
  BOOST_TEST(events.size() == 1U);
}

BOOST_AUTO_TEST_CASE(stop_ids_count_only_behind_min_tokens) {
  auto config = small_config(16, 2, 32);
  sched::scheduler scheduler(config);
  auto request = make_request(1, {1, 2}, 9);
  request.eos_ids = {7, 3};
  request.stop_token_ids = {5, 7, 99}; // 99 is no token of this model
  request.sampling.min_tokens = 2;
  BOOST_TEST(code_of(scheduler.add(request)) == errc::ok);
  protocol::step_plan plan;
  std::vector<protocol::token_event> events;
  for (std::uint64_t step = 1; step <= 3; ++step) {
    BOOST_TEST(scheduler.plan(step_id(step), epoch(1), plan));
    if (step == 1) {
      BOOST_TEST((plan.suppressed_ids == std::vector<std::int32_t>{3, 5, 7}));
      BOOST_TEST(plan.sampling.at(0).suppressed_count == 3);
      BOOST_TEST(plan.sampling.at(0).prompt_tokens == 2);
    }
    BOOST_TEST(code_of(scheduler.commit(result_of(plan, 7), events)) == errc::ok);
  }
  BOOST_TEST(events.size() == 3U);
  BOOST_TEST(events.at(1).reason == protocol::finish_reason::none);
  BOOST_TEST(events.at(2).reason == protocol::finish_reason::stop);
  BOOST_TEST(events.at(2).stop_token == 7);
  BOOST_TEST(scheduler.is_idle());
}

BOOST_AUTO_TEST_CASE(a_request_taken_up_again_goes_on_where_it_stopped) {
  sched::scheduler scheduler(small_config(16, 2, 32));
  auto request = make_request(1, {1, 2}, 5);
  request.generated = {4, 5, 6};
  BOOST_TEST(code_of(scheduler.add(request)) == errc::ok);
  protocol::step_plan plan;
  std::vector<protocol::token_event> events;
  BOOST_TEST(scheduler.plan(step_id(1), epoch(1), plan));
  BOOST_TEST((plan.tokens == std::vector<std::int32_t>{1, 2, 4, 5, 6}));
  BOOST_TEST(plan.sampling.at(0).prompt_tokens == 2);
  BOOST_TEST(code_of(scheduler.commit(result_of(plan, 1), events)) == errc::ok);
  BOOST_TEST(events.at(0).position == 3);
  // One whose last token ended it already gets its end, and no token.
  auto ended = make_request(2, {1, 2}, 9);
  ended.generated = {4, 3};
  ended.eos_ids = {3};
  events.clear();
  BOOST_TEST(code_of(scheduler.add(ended)) == errc::ok);
  scheduler.flush(events);
  BOOST_TEST(events.size() == 1U);
  BOOST_TEST(events.at(0).token == -1);
  BOOST_TEST(events.at(0).position == 2);
  BOOST_TEST(events.at(0).stop_token == 3);
  BOOST_TEST(events.at(0).reason == protocol::finish_reason::stop);
}

BOOST_AUTO_TEST_CASE(a_cancel_in_flight_keeps_the_blocks_until_the_step_is_over) { // S-1, K-3
  auto config = small_config(2, 2, 5);
  config.max_steps_in_flight = 2;
  sched::scheduler scheduler(config);
  protocol::step_plan plan;
  protocol::step_plan other;
  std::vector<protocol::token_event> events;
  BOOST_TEST(code_of(scheduler.add(make_request(1, {1, 2, 3}, 2))) == errc::ok);
  BOOST_TEST(code_of(scheduler.add(make_request(2, {4, 5, 6}, 2))) == errc::ok);
  BOOST_TEST(scheduler.plan(step_id(1), epoch(1), plan));
  BOOST_TEST(scheduler.cancel(request_id(1)));
  BOOST_TEST(!scheduler.cancel(request_id(1)));
  BOOST_TEST(!scheduler.plan(step_id(2), epoch(1), other));
  BOOST_TEST(scheduler.stats().blocks_owned == 2);
  scheduler.flush(events);
  BOOST_TEST(events.size() == 1U); // nobody has to wait for the step
  BOOST_TEST(events.at(0).reason == protocol::finish_reason::cancelled);
  BOOST_TEST(events.at(0).token == -1);
  BOOST_TEST(code_of(scheduler.commit(result_of(plan, 1), events)) == errc::ok);
  BOOST_TEST(events.size() == 1U); // the token is dropped
  BOOST_TEST(scheduler.stats().tokens_dropped == 1U);
  BOOST_TEST(scheduler.plan(step_id(2), epoch(1), other));
  BOOST_TEST(other.request_ids.at(0) == 2U);
}

BOOST_AUTO_TEST_CASE(a_poisonous_request_fails_with_its_text) {
  sched::scheduler scheduler(small_config(8, 2, 8));
  std::vector<protocol::token_event> events;
  BOOST_TEST(code_of(scheduler.add(make_request(1, {1}, 2))) == errc::ok);
  BOOST_TEST(scheduler.fail_request(request_id(1), "three workers died of it"));
  BOOST_TEST(!scheduler.fail_request(request_id(1), "again"));
  scheduler.flush(events);
  BOOST_TEST(events.at(0).reason == protocol::finish_reason::failed);
  BOOST_TEST(events.at(0).message == "three workers died of it");
}

BOOST_AUTO_TEST_CASE(a_shared_beginning_is_computed_once) {
  auto config = small_config(32, 4, 32);
  sched_harness world(config);
  const std::vector<token_id> prompt{1, 2, 3, 4, 5, 6, 7, 8};
  world.add(make_request(1, prompt, 2));
  world.submit();
  // Not before the step is committed: KV of a step in flight may never come to be.
  world.add(make_request(2, prompt, 2));
  BOOST_TEST(world.scheduler().stats().prefix_hits == 0U);
  world.retire();
  world.submit();
  const auto& plan = world.last_plan();
  BOOST_TEST(plan.request_ids.at(1) == 2U);
  BOOST_TEST(plan.first_position.at(1) == 4); // not 8: one token has to be computed
  BOOST_TEST(plan.token_counts.at(1) == 4);
  world.drain(10);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(nobody_overtakes_a_head_that_does_not_fit) { // S-6
  auto config = small_config(8, 2, 16);
  config.prefix_cache = false;
  sched_harness world(config);
  world.add(make_request(1, std::vector<token_id>(9, 1), 4));
  world.submit();
  world.add(make_request(2, std::vector<token_id>(12, 2), 1)); // waits for the first
  for (std::uint64_t id = 3; id < 20; ++id) {
    world.add(make_request(id, {3}, 1)); // each would fit at once
  }
  while (!world.has_ended(request_id(1))) {
    BOOST_TEST(world.last_plan().sequences() == 1U);
    world.retire();
    world.submit();
  }
  BOOST_TEST(world.last_plan().request_ids.at(0) == 2U);
  world.drain(50);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(a_flood_of_urgent_requests_does_not_starve_the_rest) {
  auto config = small_config(64, 2, 32);
  config.policy = sched::admission_policy::priority;
  config.max_sequences = 2;
  config.promote_every = 4;
  sched_harness world(config);
  std::uint64_t next = 1;
  const auto add = [&world, &next](std::int32_t priority) {
    auto request = make_request(next++, {1, 2, 3}, 3);
    request.priority = priority;
    world.add(request);
  };
  for (int i = 0; i < 8; ++i) {
    add(-1);
  }
  add(5);
  const auto meek = request_id(next - 1);
  for (int step = 0; !world.has_ended(meek); ++step) {
    // Eight are older and one promotion comes with four admissions: 36 admissions, two per three
    // steps.
    BOOST_REQUIRE(step < 60);
    add(-1);
    world.submit();
    world.retire();
  }
  world.drain(1000);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(decoding_goes_on_in_every_step_beside_long_prompts) { // S-5
  auto config = small_config(512, 4, 200);
  config.max_batch_tokens = 8;
  sched_harness world(config);
  world.add(make_request(1, {1}, 60));
  world.submit();
  world.retire();
  for (std::uint64_t id = 2; id < 6; ++id) {
    world.add(make_request(id, std::vector<token_id>(100, static_cast<token_id>(id)), 2));
  }
  for (std::size_t tokens = 1; tokens < 50; ++tokens) {
    BOOST_REQUIRE(world.generated(request_id(1)) == tokens);
    world.submit();
    BOOST_REQUIRE(world.last_plan().request_ids.at(0) == 1U);
    world.retire();
  }
  world.drain(500);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(steps_in_flight_share_the_decoding_sequences) {
  auto config = small_config(64, 2, 32);
  config.max_steps_in_flight = 3;
  sched_harness world(config);
  for (std::uint64_t id = 1; id <= 9; ++id) {
    world.add(make_request(id, {static_cast<token_id>(id), 1}, 20));
  }
  world.submit();
  world.retire();
  std::multiset<std::uint64_t> seen;
  for (int step = 0; step < 3; ++step) {
    BOOST_TEST(world.submit());
    BOOST_TEST(world.last_plan().sequences() == 3U);
    seen.insert(world.last_plan().request_ids.begin(), world.last_plan().request_ids.end());
  }
  BOOST_TEST(seen.size() == 9U);
  BOOST_TEST(seen.count(9) == 1U);
  BOOST_TEST(!world.submit());
  // With one step at a time everybody still has their turn.
  for (int step = 0; step < 3; ++step) {
    world.retire();
  }
  seen.clear();
  for (int step = 0; step < 3; ++step) {
    world.submit();
    seen.insert(world.last_plan().request_ids.begin(), world.last_plan().request_ids.end());
    world.retire();
  }
  for (std::uint64_t id = 1; id <= 9; ++id) {
    BOOST_TEST(seen.count(id) == 1U);
  }
  world.drain(500);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(the_last_by_policy_gives_way_when_blocks_run_out) {
  auto config = small_config(6, 2, 12);
  config.prefix_cache = false;
  sched_harness world(config);
  world.add(make_request(1, {1, 2, 3, 4}, 7));
  world.add(make_request(2, {5, 6, 7, 8}, 7));
  world.drain(100);
  BOOST_TEST(world.preemptions() > 0U);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(an_idle_scheduler_has_nothing_to_plan) {
  sched::scheduler scheduler(small_config(4, 2, 8));
  protocol::step_plan plan;
  BOOST_TEST(!scheduler.plan(step_id(1), epoch(1), plan));
  BOOST_TEST(scheduler.is_idle());
  BOOST_TEST(!scheduler.cancel(request_id(1)));
  BOOST_TEST(scheduler.check_integrity().has_value());
}
