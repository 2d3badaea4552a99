#include "model/exec/model_runner.hpp"

#include "tests/model/exec/fake_rank.hpp"
#include "tests/model/exec/golden_config.hpp"
#include "tests/support/counted_allocations.hpp"
#include "tests/support/model_driver.hpp"

#include "model/exec/kv_region.hpp"
#include "model/exec/silent_links.hpp"

#include "transport/vault/memory_vault.hpp"

#include "kernels/cpu/cpu_backend.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace vdist {

namespace {

using testing::driven_sequence;
using testing::driver_config;
using testing::golden_folder;
using testing::model_driver;

bool has(const error& failure, errc code, const std::string& text) {
  return failure.code == code && failure.context.find(text) != std::string::npos;
}

exec::model_runner_config runner_config(const std::string& model) {
  return testing::golden_config(model,
                                {.max_batch_tokens = 16,
                                 .max_sequences = 4,
                                 .max_positions = 64,
                                 .blocks = 16,
                                 .block_size = 16});
}

std::unique_ptr<kernels::backend> make_backend(const exec::backend_needs& needs) {
  return kernels::make_cpu_backend({.max_positions = needs.max_positions,
                                    .max_tokens = needs.max_tokens,
                                    .max_features = needs.max_features});
}

/// Three tokens of request 77 in slot 2, first step of epoch 1.
protocol::step_plan plan_of_one_prompt() {
  protocol::step_plan plan;
  plan.step = 1;
  plan.epoch = 1;
  plan.slots = {2};
  plan.request_ids = {77};
  plan.flags = {protocol::flag_new | protocol::flag_samples};
  plan.first_position = {0};
  plan.token_counts = {3};
  plan.block_counts = {1};
  plan.new_blocks = {5};
  plan.tokens = {1, 2, 3};
  plan.sampling.resize(1);
  return plan;
}

} // namespace

BOOST_AUTO_TEST_SUITE(model_runner)

// E-4, M-2
BOOST_AUTO_TEST_CASE(a_bad_plan_is_refused_and_only_a_new_epoch_mends_the_runner) {
  model_driver driver({.folder = golden_folder("gpt2")});
  auto sequence = driver.add({1, 2, 3});
  driven_sequence* const one[] = {&sequence};
  driver.generate(one, 1);
  sequence.tokens.push_back(4);
  const testing::chunk next[] = {{&sequence, 1}};
  auto plan = driver.make_plan(next);
  plan.first_position[0] = 9;
  const auto refused = driver.execute(plan);
  BOOST_REQUIRE(!refused);
  BOOST_TEST(has(refused.error(), errc::corrupt, "does not continue"));
  plan.first_position[0] = 3;
  const auto still_refused = driver.execute(plan);
  BOOST_REQUIRE(!still_refused);
  BOOST_TEST(has(still_refused.error(), errc::aborted, "no epoch is running"));
  driver.start_epoch();
  sequence.is_announced = false;
  sequence.computed = 3;
  const auto again = driver.execute(driver.make_plan(next));
  BOOST_TEST(again.has_value());
}

BOOST_AUTO_TEST_CASE(a_plan_of_another_epoch_is_stale) {
  model_driver driver({.folder = golden_folder("gpt2")});
  auto sequence = driver.add({1, 2, 3});
  const testing::chunk whole[] = {{&sequence, 3}};
  auto plan = driver.make_plan(whole);
  plan.epoch += 1;
  const auto refused = driver.execute(plan);
  BOOST_REQUIRE(!refused);
  BOOST_TEST(has(refused.error(), errc::stale, "another epoch"));
}

BOOST_AUTO_TEST_CASE(a_plan_that_only_retires_slots_computes_nothing) {
  model_driver driver({.folder = golden_folder("llama3_gqa"), .tensor = 2, .stage_layers = {2, 1}});
  auto plan = driver.make_plan({});
  plan.retired_slots = {0, 3};
  const auto done = driver.execute(plan);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->tokens.empty());
  BOOST_TEST(done->digest == 0U);
}

BOOST_AUTO_TEST_CASE(more_sampled_rows_than_the_lm_head_takes_at_once_come_in_plan_order) {
  driver_config config{.folder = golden_folder("llama3_gqa"), .tensor = 2};
  config.limits.max_sequences = 150; // more than two groups of exec::logit_rows_max
  config.limits.blocks = 150;
  model_driver driver(config);
  config.limits.max_sequences = 4;
  model_driver alone(config);
  std::vector<driven_sequence> sequences;
  std::vector<testing::chunk> chunks;
  for (token_id token = 0; token < 150; ++token) {
    sequences.push_back(driver.add({token}));
  }
  for (auto& sequence : sequences) {
    chunks.push_back({&sequence, 1});
  }
  driver.step(chunks);
  for (std::size_t i = 0; i < sequences.size(); i += 29) {
    auto single = alone.add({static_cast<token_id>(i)});
    const testing::chunk one[] = {{&single, 1}};
    alone.step(one);
    BOOST_TEST(sequences[i].sampled == single.sampled, boost::test_tools::per_element());
    BOOST_TEST((sequences[i].logits == single.logits));
  }
}

// P-6: the digest covers every sequence's last row, so different inputs give different digests,
// equal ones equal digests.
BOOST_AUTO_TEST_CASE(the_digest_follows_the_tokens) {
  std::set<std::uint64_t> seen;
  for (const token_id token : {1, 2, 3, 1}) {
    model_driver driver({.folder = golden_folder("gpt2")});
    auto sequence = driver.add({9, token, 7});
    const testing::chunk whole[] = {{&sequence, 3}};
    driver.step(whole);
    seen.insert(driver.results().front().digest);
  }
  BOOST_TEST(seen.size() == 3U);
}

BOOST_AUTO_TEST_CASE(log_probabilities_are_reported_where_asked_for) {
  model_driver driver({.folder = golden_folder("gpt2")});
  auto plain = driver.add({1, 2});
  auto asked = driver.add({3, 4});
  asked.record.logprobs = 3;
  const testing::chunk both[] = {{&plain, 2}, {&asked, 2}};
  const auto out = driver.execute(driver.make_plan(both));
  BOOST_REQUIRE(out.has_value());
  BOOST_TEST(out->top_counts == (std::vector<std::int32_t>{0, 3}),
             boost::test_tools::per_element());
  BOOST_TEST(out->top_ids.front() == out->tokens[1]);
  BOOST_TEST(out->logprobs[1] == out->top_logprobs.front());
}

BOOST_AUTO_TEST_CASE(logits_that_are_not_numbers_name_request_and_position) {
  vault::memory_vault memory;
  exec::model_runner runner(runner_config("gpt2"), {}, memory, make_backend);
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  // A damaged weight region: the sampler must not be given what comes out of it.
  const vault::region_key key{.rank = rank_id(0), .kind = vault::region_kind::weights};
  const auto config = runner_config("gpt2");
  const auto network = *arch::build(config.model, config.place, config.type);
  const auto region = *memory.map(key, exec::sealed_bytes(network.plan.bytes));
  auto* floats =
      reinterpret_cast<float*>(region.memory.data() + network.plan.find("final_norm")->offset);
  std::fill_n(floats, config.model.hidden, std::numeric_limits<float>::quiet_NaN());
  const auto plan = plan_of_one_prompt();
  protocol::step_result out;
  const auto done = runner.execute(plan, out);
  BOOST_REQUIRE(!done);
  BOOST_TEST(has(done.error(), errc::internal, "request=77 position=3"));
  BOOST_TEST(out.status == static_cast<std::int16_t>(errc::internal));
  BOOST_TEST(out.tokens.empty());
}

BOOST_AUTO_TEST_CASE(weights_are_read_once_and_again_only_for_another_source) {
  vault::memory_vault memory;
  const auto reports_of = [&memory](const exec::model_runner_config& config) {
    int reports = 0;
    exec::model_runner runner(config, {}, memory, make_backend);
    BOOST_REQUIRE(runner.load([&reports](std::uint64_t, std::uint64_t) { ++reports; }));
    return reports;
  };
  auto config = runner_config("llama3_gqa");
  const int first = reports_of(config);
  BOOST_TEST(first > 1);
  BOOST_TEST(reports_of(config) == 1);
  config.source.weights = weights::weight_origin::random;
  BOOST_TEST(reports_of(config) > 1);
  BOOST_TEST(reports_of(config) == 1);
  config.random_seed = 1;
  BOOST_TEST(reports_of(config) > 1);
}

BOOST_AUTO_TEST_CASE(who_only_attaches_makes_nothing_and_fills_nothing) { // M-3
  vault::memory_vault memory;
  const auto load = [&memory](exec::model_runner_config config, bool attaches_only) {
    config.is_standby = attaches_only;
    exec::model_runner runner(config, {}, memory, make_backend);
    return runner.load({});
  };
  auto config = runner_config("llama3_gqa");
  const vault::region_key kv{.rank = config.rank, .kind = vault::region_kind::kv_cache};
  BOOST_TEST(has(load(config, true).error(), errc::not_found, "nobody has left weights"));
  BOOST_TEST(memory.total_bytes() == 0U);
  BOOST_REQUIRE(load(config, false));
  const auto name = memory.ready_hash(kv);
  const auto bytes = memory.total_bytes();
  BOOST_TEST(bool(load(config, true)));
  auto other = config;
  other.random_seed = 1;
  BOOST_TEST(has(load(other, true).error(), errc::not_found, "nobody has left weights"));
  BOOST_TEST((memory.ready_hash(kv) == name));
  BOOST_TEST(memory.total_bytes() == bytes);
  BOOST_TEST(bool(load(config, true)), "the weights are what they were");
  BOOST_REQUIRE(memory.release(kv));
  BOOST_TEST(has(load(config, true).error(), errc::not_found, "KV cache"));
}

// E-3
BOOST_DATA_TEST_CASE(a_steady_state_allocates_nothing,
                     boost::unit_test::data::make({false, true}),
                     is_fed) {
  vault::memory_vault memory;
  exec::model_runner runner(runner_config("llama3_gqa"), {}, memory, make_backend);
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(runner.start_epoch(epoch(1)));
  const auto flags =
      static_cast<std::uint8_t>(protocol::flag_samples | (is_fed ? protocol::flag_feeds : 0));
  auto plan = plan_of_one_prompt();
  plan.flags[0] |= flags;
  protocol::step_result out;
  BOOST_REQUIRE(runner.execute(plan, out));
  std::size_t made = 0;
  for (std::int32_t step = 0; step < 40; ++step) {
    plan.step += 1;
    plan.flags = {flags};
    plan.first_position[0] += plan.token_counts[0];
    plan.token_counts = {1};
    const bool needs_block = plan.first_position[0] % 16 == 0;
    plan.new_blocks.assign(needs_block ? 1 : 0, 6 + step / 16);
    plan.block_counts[0] = needs_block ? 1 : 0;
    plan.tokens.assign(1, is_fed ? protocol::fed_token : out.tokens[0]);
    plan.sampling.clear();
    const auto at_start = testing::allocations();
    BOOST_REQUIRE(runner.execute(plan, out));
    made += testing::allocations() - at_start;
  }
  BOOST_TEST(testing::allocations() > 0U); // the counter counts
  BOOST_TEST(made == 0U);
}

BOOST_AUTO_TEST_CASE(more_positions_than_the_model_has_learned_are_refused) {
  vault::memory_vault memory;
  auto config = runner_config("gpt2");
  config.limits.max_positions = 129;
  exec::model_runner runner(config, {}, memory, make_backend);
  const auto done = runner.load({});
  BOOST_REQUIRE(!done);
  BOOST_TEST(has(done.error(), errc::bad_configuration, "legal=1..128"));
}

BOOST_AUTO_TEST_CASE(random_weights_are_one_model_whatever_the_split) {
  const driver_config whole{.folder = golden_folder("llama32_tied"),
                            .origin = weights::weight_origin::random};
  auto parted = whole;
  parted.tensor = 4;
  parted.stage_layers = {1, 1};
  std::vector<std::vector<token_id>> tokens;
  for (const auto& config : {whole, parted}) {
    model_driver driver(config);
    auto sequence = driver.add({1, 2, 3, 4, 5});
    driven_sequence* const one[] = {&sequence};
    driver.generate(one, 8);
    tokens.push_back(sequence.sampled);
  }
  BOOST_TEST(tokens[0] == tokens[1], boost::test_tools::per_element());
}

/// Who keeps books about KV compares the names.
BOOST_AUTO_TEST_CASE(kv_memory_has_a_name_until_it_is_other_memory) {
  vault::memory_vault memory;
  const vault::region_key key{.rank = rank_id(3), .kind = vault::region_kind::kv_cache};
  std::set<std::uint64_t> names;
  const auto map = [&memory, &names, &key](bool is_reusable) {
    const auto region = exec::map_kv(memory, key.rank, 4096, is_reusable);
    BOOST_REQUIRE(region.has_value());
    BOOST_TEST((region->ready_hash == memory.ready_hash(key)));
    names.insert(region->ready_hash.value());
  };
  map(true);
  map(true);
  map(true);
  BOOST_TEST(names.size() == 1U, "a successor of the worker finds what was there");
  map(false);
  BOOST_TEST(names.size() == 2U, "of other weights");
  BOOST_REQUIRE(memory.release(key).has_value());
  map(true);
  BOOST_TEST(names.size() == 3U, "new, and zeros");
  BOOST_REQUIRE(memory.release(key).has_value());
  BOOST_REQUIRE(memory.map(key, 4096).has_value()); // by a worker that died before it named it
  map(true);
  BOOST_TEST(names.size() == 4U);
}

// L-16 of worker_thread.hpp: the device may still be at work on two steps, however it meets others in them.
BOOST_AUTO_TEST_CASE(settling_waits_for_the_device_whatever_it_meets_others_by) {
  for (const bool meets_peers : {false, true}) {
    testing::one_rank rank;
    rank.move_to({.stages = 2, .layers = {0, 2}});
    if (meets_peers) {
      rank.config.peer_exchange = exec::peer_link_settings{};
    }
    exec::silent_pipe to_next;
    exec::model_runner runner(rank.config, {.to_next = &to_next}, rank.memory, rank.factory());
    BOOST_TEST(runner.settle().has_value(), "nothing is there yet");
    BOOST_REQUIRE(runner.load({}));
    BOOST_REQUIRE(runner.start_epoch(epoch(5)));
    rank.seen.fences.clear();
    BOOST_TEST(runner.settle().has_value());
    BOOST_TEST(rank.seen.fences
                   == (meets_peers ? std::vector<std::uint32_t>{6} : std::vector<std::uint32_t>{}),
               boost::test_tools::per_element());
    rank.seen.queue->is_stuck = true;
    const auto settled = runner.settle();
    BOOST_REQUIRE(!settled.has_value());
    BOOST_TEST((settled.error().code == errc::device_failed));
    rank.seen.queue->is_stuck = false;
    BOOST_TEST(runner.start_epoch(epoch(6)).has_value(),
               "the fence that it has told its device of");
  }
}

BOOST_AUTO_TEST_CASE(settling_ends_the_waits_of_every_link_first) {
  testing::one_rank rank;
  rank.move_to({.tensor_size = 2, .stage = 1, .stages = 3, .layers = {1, 2}});
  rank.config.peer_exchange = exec::peer_link_settings{};
  exec::silent_communicator group(0, 2, false); // between hosts
  exec::model_runner runner(rank.config, {.group = &group}, rank.memory, rank.factory());
  BOOST_REQUIRE(runner.load({}));
  BOOST_REQUIRE(
      !runner.start_epoch(epoch(1))); // all of them have begun it; the fake one adds nothing
  rank.seen.fences.clear();
  rank.seen.queue->is_stuck = true;
  BOOST_TEST(!runner.settle().has_value());
  BOOST_TEST(rank.seen.fences == (std::vector<std::uint32_t>{2, 2, 2}),
             boost::test_tools::per_element());
  rank.seen.queue->is_stuck = false;
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
