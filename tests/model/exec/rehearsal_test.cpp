// A rank that rehearses: it talks to nobody and touches nothing of anybody, and afterwards its first steps are replays that
// allocate nothing. The device is a fake that records as a GPU does.
#include "tests/model/exec/fake_rank.hpp"

#include "model/exec/silent_links.hpp"
#include "model/exec/step_buckets.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

namespace vdist {

namespace {

using testing::fake_device;
using testing::one_rank;

/// One prompt, or the token behind it: the one that was sampled, or one that is given.
protocol::step_plan plan_of(std::int32_t first, std::int32_t count, bool is_fed = true) {
  protocol::step_plan plan;
  plan.step = static_cast<std::uint64_t>(first) + 1;
  plan.epoch = 1;
  plan.slots = {2};
  plan.request_ids = {77};
  plan.flags = {static_cast<std::uint8_t>(protocol::flag_samples
                                          | (is_fed ? protocol::flag_feeds : 0)
                                          | (first == 0 ? protocol::flag_new : 0))};
  plan.first_position = {first};
  plan.token_counts = {count};
  plan.block_counts = {first == 0 ? 1 : 0};
  plan.new_blocks.assign(first == 0 ? 1 : 0, 5);
  plan.tokens.assign(static_cast<std::size_t>(count),
                     first == 0 || !is_fed ? 1 : protocol::fed_token);
  plan.sampling.resize(first == 0 ? 1 : 0);
  return plan;
}

std::size_t buckets_up_to(std::int32_t sequences) {
  std::size_t count = 0;
  for (std::int32_t size = 1; size <= exec::bucket_of(sequences);
       size = exec::bucket_of(size + 1)) {
    ++count;
  }
  return count;
}

} // namespace

BOOST_AUTO_TEST_SUITE(rehearsal)

// E-6, R-6
BOOST_AUTO_TEST_CASE(touches_nothing_of_anybody) {
  for (const auto* model : {"llama3_gqa", "gpt2", "qwen3"}) {
    one_rank rank(model);
    const auto kv = rank.region(vault::region_kind::kv_cache);
    const std::vector<std::byte> before(kv.begin(), kv.end());
    exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.rehearse());
    BOOST_TEST(rank.seen.rows_of_sequences == 0);
    BOOST_TEST(rank.seen.rows_of_padding > 0);
    BOOST_TEST(rank.seen.rows_sampled == 0);
    BOOST_TEST(rank.seen.prompts_attended > 0);
    BOOST_TEST(std::equal(kv.begin(), kv.end(), before.begin()));
  }
}

BOOST_AUTO_TEST_CASE(records_every_size_of_a_decode_step_both_ways) {
  one_rank rank;
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.rehearse());
  BOOST_TEST(rank.seen.queue->recorded.size() == 2 * buckets_up_to(testing::max_sequences));
  BOOST_TEST(rank.seen.queue->replays == 0);
  for (const auto& [key, operations] : rank.seen.queue->recorded) {
    BOOST_TEST(!operations.empty(), "key " << key);
  }
}

BOOST_AUTO_TEST_CASE(the_first_steps_are_replays_and_allocate_nothing) {
  one_rank rank;
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.rehearse());
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  const auto allocations = rank.seen.queue->allocations;
  protocol::step_result out;
  BOOST_REQUIRE(runner.execute(plan_of(0, 5), out));
  BOOST_TEST(out.tokens == std::vector<token_id>{fake_device::sampled_token},
             boost::test_tools::per_element());
  BOOST_TEST(rank.seen.queue->replays == 0);
  for (std::int32_t position = 5; position < 9; ++position) {
    BOOST_REQUIRE(runner.execute(plan_of(position, 1), out));
    BOOST_TEST(out.tokens == std::vector<token_id>{fake_device::sampled_token},
               boost::test_tools::per_element());
  }
  BOOST_TEST(rank.seen.queue->replays == 4);
  BOOST_TEST(rank.seen.queue->runs.empty()); // nothing that is recorded ran in another way
  BOOST_TEST(rank.seen.queue->allocations == allocations);
  const auto layers = rank.config.model.layers;
  BOOST_TEST(rank.seen.rows_of_sequences == 9 * layers);
}

BOOST_AUTO_TEST_CASE(runs_once_and_before_the_first_epoch) {
  one_rank rank;
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_TEST(!runner.rehearse().has_value());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  const auto late = runner.rehearse();
  BOOST_REQUIRE(!late);
  BOOST_TEST((late.error().code == errc::internal));
}

BOOST_AUTO_TEST_CASE(who_takes_over_has_the_memory_of_large_steps_when_the_first_one_comes) {
  one_rank rank;
  exec::model_runner standby(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(standby.load({}));
  BOOST_REQUIRE(standby.rehearse());
  auto& queue = *rank.seen.queue;
  const auto asleep = queue.device_bytes;
  const auto network = *arch::build(rank.config.model, rank.config.place, rank.config.type);
  const auto large = exec::workspace::bytes(
      network.decoder, rank.config.limits.max_batch_tokens, {.types = {rank.config.type}});
  queue.device_bytes_max = asleep; // a predecessor still has it
  BOOST_REQUIRE(standby.start_epoch(epoch(1)));
  protocol::step_result out;
  BOOST_REQUIRE(standby.execute(plan_of(0, 5), out)); // small steps need no more
  BOOST_TEST(queue.device_bytes == asleep);
  queue.device_bytes_max = SIZE_MAX;
  auto plan = plan_of(0, 40);
  plan.slots = {3};
  plan.request_ids = {78};
  plan.step = 2;
  plan.block_counts = {3};
  plan.new_blocks = {7, 8, 9};
  BOOST_REQUIRE(standby.execute(plan, out));
  BOOST_TEST(queue.device_bytes == asleep + large);
}

BOOST_AUTO_TEST_CASE(a_large_step_without_memory_is_an_error_that_says_how_much_is_missing) {
  one_rank rank;
  exec::model_runner standby(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(standby.load({}));
  rank.seen.queue->device_bytes_max = rank.seen.queue->device_bytes;
  BOOST_REQUIRE(standby.start_epoch(epoch(1)));
  auto plan = plan_of(0, 40);
  plan.block_counts = {3};
  plan.new_blocks = {7, 8, 9};
  const auto launched = standby.launch(plan);
  BOOST_REQUIRE(!launched);
  BOOST_TEST((launched.error().code == errc::resource_exhausted));
  BOOST_TEST(launched.error().context.find("tokens=40") != std::string::npos);
}

// P-1 of peer_links.hpp
BOOST_AUTO_TEST_CASE(a_rank_of_a_group_records_with_its_links_and_runs_without_them) {
  one_rank rank;
  rank.move_to({.tensor_size = 2, .layers = rank.config.place.layers});
  rank.config.peer_exchange = exec::peer_link_settings{};
  exec::silent_communicator host_group(0, 2, false);
  const exec::peers links{.group = &host_group};
  for (const auto r : {1, 0}) {
    auto config = rank.config;
    config.rank = rank_id(r);
    config.place.tensor_rank = r;
    exec::model_runner active(config, links, rank.memory, rank.factory());
    BOOST_REQUIRE(active.load({}));
    if (r == 1) { // whether the regions of the other exist is not known yet
      BOOST_REQUIRE(active.rehearse());
      BOOST_TEST(rank.seen.queue->recorded.empty());
      BOOST_TEST(rank.seen.rows_of_padding > 0);
    }
  }
  rank.seen = {};
  rank.config.is_standby = true;
  exec::model_runner standby(rank.config, links, rank.memory, rank.factory());
  BOOST_REQUIRE(standby.load({}));
  BOOST_REQUIRE(standby.rehearse());
  BOOST_TEST(rank.seen.group_calls == 0);
  BOOST_TEST(rank.seen.group_recordings > 0);
  BOOST_TEST(rank.seen.queue->recorded.size() == 2 * buckets_up_to(testing::max_sequences));
}

// A fault that shows while a step is recorded: its second run ends in the middle, and the next epoch must not replay that.
BOOST_AUTO_TEST_CASE(a_recording_that_ended_in_the_middle_is_never_replayed) {
  one_rank rank;
  rank.move_to({.stages = 2, .layers = {0, 2}});
  rank.config.peer_exchange = exec::peer_link_settings{};
  exec::model_runner runner(rank.config, {}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  protocol::step_result out;
  BOOST_REQUIRE(runner.execute(plan_of(0, 5, false), out));
  BOOST_REQUIRE(runner.execute(plan_of(5, 1, false), out)); // the first of its size
  rank.seen.fault = {kernels::group_fault::aborted, kernels::group_operation::send, 1, 1};
  BOOST_REQUIRE(!runner.execute(plan_of(6, 1, false), out));
  rank.seen.fault = {};
  BOOST_REQUIRE(runner.start_epoch(epoch(2)));
  auto prompt = plan_of(0, 6, false);
  prompt.epoch = 2;
  BOOST_REQUIRE(runner.execute(prompt, out));
  for (std::int32_t position = 6; position < 9; ++position) {
    auto plan = plan_of(position, 1, false);
    plan.epoch = 2;
    const auto sent = rank.seen.group_calls;
    BOOST_REQUIRE(runner.execute(plan, out));
    BOOST_TEST(rank.seen.group_calls == sent + 1, "position " << position);
  }
  BOOST_TEST(rank.seen.queue->replays > 0);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
