// Who samples which row, and who looks while a step waits. The device is a fake that draws one and the same token, whatever
// the logits say; the host draws what they say.
#include "tests/model/exec/fake_rank.hpp"

#include "model/exec/host_wait.hpp"
#include "model/exec/silent_links.hpp"
#include "model/exec/step_buckets.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace vdist {

namespace {

using testing::fake_device;
using testing::one_rank;

constexpr std::int32_t sequences = 5; // one more than a size that is recorded

bool is_in(std::uint32_t mask, std::int32_t sequence) {
  return ((mask >> static_cast<std::uint32_t>(sequence)) & 1U) != 0;
}

/// Five prompts of three tokens, or a token behind each; those in `hosts` want log probabilities.
protocol::step_plan plan_of(std::int32_t first, std::uint32_t hosts = 0) {
  protocol::step_plan plan;
  plan.step = static_cast<std::uint64_t>(first) + 1;
  plan.epoch = 1;
  const bool is_new = first == 0;
  for (std::int32_t i = 0; i < sequences; ++i) {
    plan.slots.push_back(static_cast<std::uint32_t>(2 * i));
    plan.request_ids.push_back(70U + static_cast<std::uint64_t>(i));
    plan.flags.push_back(static_cast<std::uint8_t>(protocol::flag_samples | protocol::flag_feeds
                                                   | (is_new ? protocol::flag_new : 0)));
    plan.first_position.push_back(first);
    plan.token_counts.push_back(is_new ? 3 : 1);
    plan.block_counts.push_back(is_new ? 1 : 0);
    plan.tokens.insert(plan.tokens.end(), is_new ? 3 : 1, is_new ? 1 : protocol::fed_token);
    if (is_new) {
      plan.new_blocks.push_back(i);
      plan.sampling.push_back({.logprobs = is_in(hosts, i) ? 1 : -1});
    }
  }
  return plan;
}

/// Counts, and at some look wants the wait to end.
struct counting_observer final : exec::wait_observer {
  std::optional<int> ends_at;
  errc ends_with = errc::aborted;
  std::vector<std::uint64_t> steps; // of the looks
  int looks = 0;
  int waits = 0;

  result<void> look(std::uint64_t looked) override {
    steps.push_back(looked);
    return looks++ == ends_at ? result<void>(fail(ends_with, "enough")) : result<void>();
  }

  void go_on(std::uint64_t) override { ++waits; }
};

} // namespace

BOOST_AUTO_TEST_SUITE(step_sampling)

//
BOOST_AUTO_TEST_CASE(a_row_is_the_host_s_by_its_own_request_alone) {
  for (std::uint32_t hosts = 0; hosts < 1U << sequences; ++hosts) {
    one_rank rank;
    rank.seen.vocabulary = rank.config.model.vocabulary;
    exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.start_epoch(epoch(1)));
    int of_the_device = 0;
    for (const std::int32_t first : {0, 3, 4}) { // the last one is a replay
      protocol::step_result out;
      BOOST_REQUIRE(runner.execute(plan_of(first, hosts), out));
      BOOST_REQUIRE(out.tokens.size() == sequences);
      BOOST_TEST(rank.seen.rows_gathered == (first == 0 ? sequences : exec::bucket_of(sequences)),
                 "the same product, whoever samples: the same logits");
      for (std::int32_t i = 0; i < sequences; ++i) {
        const auto row = static_cast<std::size_t>(i);
        const bool is_host_s = is_in(hosts, i);
        of_the_device += is_host_s ? 0 : 1;
        BOOST_TEST(out.slots[row] == 2U * row);
        BOOST_TEST(out.tokens[row] == (is_host_s ? i + 1 : fake_device::sampled_token));
        BOOST_TEST(std::isnan(out.logprobs[row]) == !is_host_s);
        BOOST_TEST(out.top_counts[row] == (is_host_s ? 1 : 0));
      }
    }
    BOOST_TEST(rank.seen.rows_sampled == of_the_device, "hosts " << hosts);
  }
}

BOOST_AUTO_TEST_CASE(an_observer_of_logits_makes_every_row_the_host_s) {
  one_rank rank;
  int seen = 0;
  rank.config.observer = [&seen](std::uint64_t, std::int32_t, std::span<const float>) {
    ++seen;
  };
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  protocol::step_result out;
  BOOST_REQUIRE(runner.execute(plan_of(0, 0b01010), out));
  BOOST_TEST(seen == sequences);
  BOOST_TEST(rank.seen.rows_sampled == 0);
}

// R-5, where ranks meet through the host: it waits for every step, and chooses no more for that.
BOOST_AUTO_TEST_CASE(a_rank_that_meets_others_through_the_host_leaves_the_device_its_rows) {
  one_rank rank;
  rank.move_to({.tensor_size = 2, .layers = rank.config.place.layers});
  exec::silent_communicator others(0, 2, false);
  exec::model_runner runner(rank.config, {.group = &others}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.rehearse());
  BOOST_TEST(rank.seen.rows_sampled == 0);
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  protocol::step_result out;
  BOOST_REQUIRE(runner.execute(plan_of(0, 0b01010), out));
  BOOST_TEST(out.tokens
                 == (std::vector<token_id>{fake_device::sampled_token,
                                           0,
                                           fake_device::sampled_token,
                                           0,
                                           fake_device::sampled_token}),
             boost::test_tools::per_element());
  BOOST_TEST(rank.seen.rows_sampled == 3);
}

// E-7: every wait of a launch, those of links that pass through the host too; whoever looks may end each of them.
BOOST_AUTO_TEST_CASE(somebody_looks_wherever_a_launch_waits) {
  for (const std::int32_t tensor : {1, 2}) {
    one_rank rank;
    rank.move_to({.tensor_size = tensor, .layers = rank.config.place.layers});
    exec::silent_communicator others(0, 2, false);
    exec::model_runner runner(
        rank.config, {.group = tensor > 1 ? &others : nullptr}, rank.memory, rank.factory());
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.start_epoch(epoch(1)));
    counting_observer observer;
    runner.observe_waits(&observer);
    rank.seen.queue->is_late = true; // every wait is looked at once
    protocol::step_result out;
    BOOST_REQUIRE(runner.execute(plan_of(0, 0b00100), out));
    BOOST_TEST((observer.steps.front() == 1U && observer.steps.back() == 1U));
    BOOST_TEST(observer.looks == observer.waits);
    const auto reductions = tensor > 1 ? 2 * rank.config.model.layers : 0;
    BOOST_TEST(observer.waits >= reductions + 2); // the step, and rows for the host
    const auto all = observer.looks;
    for (int end = 0; end < all; ++end) {
      const auto now = static_cast<std::uint32_t>(end) + 2;
      BOOST_REQUIRE(runner.start_epoch(epoch(now)));
      observer.looks = 0;
      observer.ends_at = end;
      auto plan = plan_of(0, 0b00100);
      plan.epoch = now;
      const auto ended = runner.launch(plan);
      BOOST_REQUIRE(!ended);
      BOOST_TEST((ended.error().code == errc::aborted), "look " << end);
      BOOST_TEST(observer.looks == end + 1); // and nobody waits again
    }
    observer.ends_at.reset();
    const auto last = static_cast<std::uint32_t>(all) + 2;
    BOOST_REQUIRE(runner.start_epoch(epoch(last)));
    auto plan = plan_of(0);
    plan.epoch = last;
    BOOST_REQUIRE(runner.execute(plan, out));
  }
}

// E-7, L-16 of worker_thread.hpp: behind a fence, too, at each step that was launched.
BOOST_AUTO_TEST_CASE(somebody_looks_while_launched_steps_settle) {
  one_rank rank;
  rank.move_to(rank.config.place);
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  counting_observer observer;
  runner.observe_waits(&observer);
  BOOST_REQUIRE(runner.settle());
  BOOST_TEST(observer.looks == 0, "nothing is launched");
  BOOST_REQUIRE(runner.launch(plan_of(0)));
  auto next = plan_of(3);
  next.step = 2;
  BOOST_REQUIRE(runner.launch(next));
  rank.seen.queue->is_late = true;
  BOOST_REQUIRE(runner.settle());
  BOOST_TEST(observer.steps == (std::vector<std::uint64_t>{1, 2}),
             boost::test_tools::per_element());
  rank.seen.queue->is_stuck = true;
  observer.looks = 0;
  observer.ends_at = 20;
  observer.ends_with = errc::device_failed;
  const auto settled = runner.settle();
  BOOST_REQUIRE(!settled);
  BOOST_TEST(settled.error().context == "enough", "and not the long deadline");
  BOOST_TEST(observer.looks == 21);
  rank.seen.queue->is_stuck = false;
}

// E-7, D-1 of step_watch.hpp: a thread that had no CPU for long looks at the clock, and the device has finished meanwhile.
BOOST_AUTO_TEST_CASE(a_look_by_the_clock_ends_no_wait_for_what_is_done) {
  for (const auto found : {errc::device_failed, errc::timed_out}) {
    one_rank rank;
    rank.move_to(rank.config.place);
    exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.start_epoch(epoch(1)));
    counting_observer observer;
    observer.ends_at = 0;
    observer.ends_with = found;
    runner.observe_waits(&observer);
    rank.seen.queue->is_late = true; // the second time that it is asked it is done
    protocol::step_result out;
    BOOST_REQUIRE(runner.execute(plan_of(0, 0b00100), out));
    BOOST_TEST(observer.looks == observer.waits,
               "the host goes on as if nobody had found anything");

    rank.seen.queue->is_stuck = true;
    observer.looks = 0;
    const auto ended = runner.launch(plan_of(3));
    BOOST_REQUIRE(!ended);
    BOOST_TEST((ended.error().code == found));
    BOOST_TEST(observer.looks == 1);
    rank.seen.queue->is_stuck = false;
  }
}

BOOST_AUTO_TEST_CASE(nor_for_what_another_queue_has_done) {
  testing::fake_queue queue;
  exec::host_wait wait(queue, std::chrono::milliseconds(1000));
  counting_observer observer;
  observer.ends_at = 0;
  wait.observe(&observer);
  const auto until = [&](int asks) { // that it takes
    observer.looks = 0;
    observer.waits = 0;
    return wait.until(7, [&asks] { return --asks <= 0; });
  };
  observer.ends_with = errc::device_failed;
  BOOST_TEST(until(2).has_value());
  BOOST_TEST(observer.waits == 1);
  BOOST_TEST((until(3).error().code == errc::device_failed));
  BOOST_TEST(observer.waits == 0);
  observer.ends_with = errc::aborted;
  BOOST_TEST((until(2).error().code == errc::aborted), "the epoch is over in any case");
  BOOST_TEST(observer.waits == 0);
}

// E-7: block tables that come in parts, as after a recovery. What runs before is waited for as itself.
BOOST_AUTO_TEST_CASE(somebody_looks_while_many_block_tables_are_placed) {
  constexpr std::int32_t most = 1490;
  constexpr std::int32_t others = testing::max_sequences - 1;
  constexpr std::int32_t at_once = 16 << 10;
  for (const std::int32_t more : {0, 1}) {
    one_rank rank;
    rank.config.limits.max_positions = most * 16;
    rank.config.limits.blocks = most;
    rank.move_to(rank.config.place);
    exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.start_epoch(epoch(1)));
    counting_observer observer;
    runner.observe_waits(&observer);
    rank.seen.queue->is_late = true;

    const auto announce = [](protocol::step_plan& plan, std::int32_t slot, std::int32_t blocks) {
      plan.slots.push_back(static_cast<std::uint32_t>(slot));
      plan.request_ids.push_back(70U + static_cast<std::uint64_t>(slot));
      plan.flags.push_back(protocol::flag_new | protocol::flag_samples);
      plan.first_position.push_back(blocks * 16 - 1);
      plan.token_counts.push_back(1);
      plan.block_counts.push_back(blocks);
      plan.sampling.emplace_back();
      for (std::int32_t block = 0; block < blocks; ++block) {
        plan.new_blocks.push_back(block);
      }
      plan.tokens.insert(plan.tokens.end(), static_cast<std::size_t>(blocks) * 16, 1);
    };
    protocol::step_plan one;
    one.step = 1;
    one.epoch = 1;
    announce(one, 0, 1);
    protocol::step_plan many;
    many.step = 2;
    many.epoch = 1;
    for (std::int32_t i = 1; i < others; ++i) {
      announce(many, i, most);
    }
    announce(many, others, at_once - (others - 1) * most + more);
    BOOST_REQUIRE(runner.launch(one));
    BOOST_REQUIRE(runner.launch(many));
    const auto expected =
        more > 0 ? std::vector<std::uint64_t>{1, 2} : std::vector<std::uint64_t>();
    BOOST_TEST(observer.steps == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
