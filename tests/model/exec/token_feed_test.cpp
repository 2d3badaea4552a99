// Tokens fed from step to step (step.hpp P-8, P-9): a scheduler that plans ahead drives real
// runners, and every stream must be, bit by bit, the one of a scheduler that waits for each result.
// A plan is executed only after the next one has been made.
#include "tests/support/counted_allocations.hpp"
#include "tests/support/model_driver.hpp"

#include "model/exec/sim_runner.hpp"

#include "transport/tensor/shared_communicator.hpp"
#include "transport/vault/memory_vault.hpp"

#include "runtime/sched/scheduler.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <bit>
#include <deque>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>

namespace vdist {

namespace {

using testing::model_driver;

constexpr std::int32_t sim_vocabulary = 60;
constexpr exec::runner_limits limits{
    .max_batch_tokens = 24, .max_sequences = 6, .max_positions = 64, .blocks = 24, .block_size = 4};

void require(const result<void>& done) {
  if (!done) {
    throw std::runtime_error(done.error().context);
  }
}

/// What runs plans: all ranks of a replica.
class replica {
public:
  virtual ~replica() = default;
  virtual epoch start_epoch() = 0;
  virtual result<protocol::step_result> execute(const protocol::step_plan& plan) = 0;
};

class model_replica final : public replica {
public:
  model_replica(const std::string& model, std::int32_t tensor)
      : driver_({.folder = std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models"
                           / model,
                 .tensor = tensor,
                 .limits = limits,
                 .observes = false}) {}

  epoch start_epoch() override {
    driver_.start_epoch();
    return epoch(driver_.current_epoch());
  }

  result<protocol::step_result> execute(const protocol::step_plan& plan) override {
    return driver_.execute(plan);
  }

private:
  model_driver driver_;
};

/// One stage of the sim device on threads of this process.
class sim_replica final : public replica {
public:
  explicit sim_replica(std::int32_t tensor) {
    const frame::wait_policy patient({.spin_budget = std::chrono::microseconds(0)}, time_);
    constexpr std::size_t slot_floats = 64; // smaller than most messages
    for (std::int32_t rank = 0; rank < tensor; ++rank) {
      auto& made = ranks_.emplace_back();
      if (tensor > 1) {
        const vault::region_key key{.rank = rank_id(0), .kind = vault::region_kind::exchange};
        const auto region = memory_.map(key, tensor::exchange_bytes(tensor, slot_floats));
        made.group = *tensor::make_shared_communicator(
            region->memory,
            {.rank = rank, .size = tensor, .slot_floats = slot_floats, .stop = nullptr},
            patient);
      }
      const exec::sim_runner_config config{
          .place = {.tensor_rank = rank, .tensor_size = tensor, .layers = {0, 3}},
          .rank = rank_id(rank),
          .vocabulary = sim_vocabulary,
          .limits = limits};
      made.runner = std::make_unique<exec::sim_runner>(
          config, exec::peers{.group = made.group.get()}, memory_);
      require(made.runner->load({}));
    }
  }

  epoch start_epoch() override {
    now_ = now_.next();
    for (auto& each : ranks_) {
      require(each.runner->start_epoch(now_));
    }
    return now_;
  }

  result<protocol::step_result> execute(const protocol::step_plan& plan) override {
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < ranks_.size(); ++i) {
        threads.emplace_back([this, &plan, i] {
          auto mine = plan;
          if (i == ranks_.size() - 1 && tamper_last_rank) {
            tamper_last_rank(mine);
          }
          ranks_[i].done = ranks_[i].runner->execute(mine, ranks_[i].out);
        });
      }
    }
    for (const auto& each : ranks_) {
      VDIST_TRY(each.done);
    }
    auto out = ranks_.front().out;
    out.step = plan.step;
    out.epoch = plan.epoch;
    return out;
  }

  /// What the last rank of the group is told instead.
  std::function<void(protocol::step_plan&)> tamper_last_rank;

private:
  struct rank {
    std::unique_ptr<tensor::communicator> group;
    std::unique_ptr<exec::sim_runner> runner;
    protocol::step_result out;
    result<void> done;
  };

  system_clock time_;
  vault::memory_vault memory_;
  std::vector<rank> ranks_;
  epoch now_{0};
};

std::vector<protocol::request> make_requests(std::int32_t vocabulary) {
  std::vector<protocol::request> made(9);
  for (std::size_t i = 0; i < made.size(); ++i) {
    auto& request = made[i];
    request.id = request_id(i + 1);
    request.arrival = i + 1;
    for (std::size_t t = 0; t < 3 + 5 * i; ++t) {
      request.prompt.push_back(static_cast<token_id>((t * t + (i % 3) * 7) % 50));
    }
    request.max_tokens = static_cast<std::int32_t>(6 + 2 * i);
    request.sampling.seed = 100 + i;
    request.sampling.temperature = i % 3 == 0 ? 0.0F : 0.9F;
    request.sampling.top_p = i % 4 == 1 ? 0.7F : 1.0F;
    request.sampling.repetition_penalty = i % 2 == 0 ? 1.0F : 1.7F;
    request.sampling.frequency_penalty = i % 4 == 2 ? 1.5F : 0.0F;
    request.sampling.logprobs = i % 3 == 2 ? 2 : -1;
    request.sampling.min_tokens = i % 2 == 0 ? 0 : 4;
    request.ignore_eos = i % 4 == 0;
    for (token_id id = 0; id < vocabulary; id += 8) {
      request.eos_ids.push_back(id);
    }
    if (i == 4) {
      request.logit_bias = {{7, 3.0F}, {9, -3.0F}};
    }
  }
  return made;
}

struct stream {
  std::vector<token_id> tokens;
  std::vector<std::uint32_t> logprob_bits;
  std::vector<token_id> alternatives;

  bool operator==(const stream&) const = default;
};

struct outcome {
  std::map<request_id, stream> streams;
  sched::scheduler_stats stats;
};

struct workload {
  std::int32_t vocabulary = 0;
  std::uint64_t epoch_ends_at = 0; // before this commit; 0: never
};

sched::scheduler_config config_of(const workload& load, const sched::overlap& ahead) {
  sched::scheduler_config config;
  config.max_batch_tokens = limits.max_batch_tokens;
  config.max_sequences = limits.max_sequences;
  config.max_model_len = limits.max_positions;
  config.max_steps_in_flight = ahead.steps_in_flight;
  config.feeds_tokens = ahead.feeds_tokens;
  config.blocks = limits.blocks;
  config.block_size = limits.block_size;
  config.vocabulary = load.vocabulary;
  return config;
}

outcome run(replica& ranks, const workload& load, const sched::overlap& ahead) {
  sched::scheduler scheduler(config_of(load, ahead));
  for (auto& request : make_requests(load.vocabulary)) {
    require(scheduler.add(std::move(request)));
  }
  auto now = ranks.start_epoch();
  outcome all;
  std::deque<protocol::step_plan> flying;
  std::vector<protocol::token_event> events;
  std::uint64_t step = 0;
  for (std::uint64_t commits = 1; !scheduler.is_idle(); ++commits) {
    protocol::step_plan plan;
    while (scheduler.plan(step_id(step + 1), now, plan)) {
      ++step;
      flying.push_back(plan);
    }
    if (flying.empty() || step > 1000) {
      throw std::runtime_error("requests do not end");
    }
    auto executed = ranks.execute(flying.front());
    if (!executed) {
      throw std::runtime_error(executed.error().context);
    }
    flying.pop_front();
    if (commits == load.epoch_ends_at) {
      now = ranks.start_epoch();
      scheduler.start_epoch(now);
      flying.clear();
      continue;
    }
    require(scheduler.commit(*executed, events));
  }
  for (const auto& event : events) {
    auto& into = all.streams[event.id];
    into.tokens.push_back(event.token);
    into.logprob_bits.push_back(std::bit_cast<std::uint32_t>(event.logprob));
    for (const auto& alternative : event.top) {
      into.alternatives.push_back(alternative.token);
    }
  }
  all.stats = scheduler.stats();
  return all;
}

constexpr sched::overlap overlaps[] = {{2, true}, {3, true}, {2, false}};

void check_same_streams(replica& ranks, std::int32_t vocabulary) {
  const workload load{.vocabulary = vocabulary};
  const auto expected = run(ranks, load, {1, false});
  BOOST_TEST(expected.streams.size() == 9U);
  BOOST_TEST(expected.stats.preemptions > 0U);
  for (const auto& ahead : overlaps) {
    for (const std::uint64_t epoch_ends_at : {0U, 3U, 8U}) {
      BOOST_TEST_INFO("steps " << ahead.steps_in_flight << " feeds " << ahead.feeds_tokens
                               << " epoch ends at " << epoch_ends_at);
      const auto got = run(ranks, {vocabulary, epoch_ends_at}, ahead);
      BOOST_TEST((got.streams == expected.streams));
      BOOST_TEST((got.stats.tokens_dropped > 0) == ahead.feeds_tokens); // stop ids are met
    }
  }
}

/// Slot 1 gets a prompt that samples and feeds, then one token per step that is fed.
protocol::step_plan next_plan(const protocol::step_plan& last) {
  protocol::step_plan plan;
  plan.step = last.step + 1;
  plan.epoch = 1;
  plan.slots = {1};
  plan.request_ids = {5};
  plan.flags = {protocol::flag_samples | protocol::flag_feeds};
  plan.token_counts = {1};
  plan.block_counts = {0};
  if (last.slots.empty()) {
    plan.flags[0] |= protocol::flag_new;
    plan.token_counts = {3};
    plan.block_counts = {10};
    plan.new_blocks = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    plan.first_position = {0};
    plan.tokens = {4, 5, 6};
    plan.sampling.resize(1);
    plan.sampling[0].prompt_tokens = 3;
    return plan;
  }
  plan.first_position = {last.first_position[0] + last.token_counts[0]};
  plan.tokens = {protocol::fed_token};
  return plan;
}

std::vector<token_id> fed_tokens(replica& ranks, std::int32_t steps) {
  (void)ranks.start_epoch();
  std::vector<token_id> tokens;
  protocol::step_plan plan;
  for (std::int32_t i = 0; i < steps; ++i) {
    plan = next_plan(plan);
    tokens.push_back(ranks.execute(plan)->tokens.at(0));
  }
  return tokens;
}

} // namespace

BOOST_AUTO_TEST_SUITE(token_feed)

BOOST_DATA_TEST_CASE(the_sim_device_samples_the_same_with_fed_tokens,
                     boost::unit_test::data::make({1, 2, 3}),
                     tensor) {
  sim_replica ranks(tensor);
  check_same_streams(ranks, sim_vocabulary);
}

BOOST_DATA_TEST_CASE(a_model_samples_the_same_with_fed_tokens,
                     boost::unit_test::data::make({1, 2}),
                     tensor) {
  model_replica ranks("llama3_gqa", tensor);
  check_same_streams(ranks, 256);
}

// P-9: the last rank hears its tokens from the group, and what it hears counts.
BOOST_AUTO_TEST_CASE(a_rank_that_is_fed_another_token_changes_all_later_ones) {
  sim_replica ranks(2);
  const auto expected = fed_tokens(ranks, 8);
  const auto tell_last_rank = [&expected](token_id difference) {
    sim_replica told(2);
    told.tamper_last_rank = [&expected, difference](protocol::step_plan& plan) {
      if (plan.step == 3) {
        plan.tokens[0] = (expected[1] + difference) % sim_vocabulary;
      }
    };
    return fed_tokens(told, 8);
  };
  BOOST_TEST(tell_last_rank(0) == expected, boost::test_tools::per_element());
  const auto wrong = tell_last_rank(1);
  BOOST_TEST(std::vector(wrong.begin(), wrong.begin() + 2)
                 == std::vector(expected.begin(), expected.begin() + 2),
             boost::test_tools::per_element());
  for (std::size_t i = 2; i < 5; ++i) {
    BOOST_TEST(wrong[i] != expected[i]);
  }
}

// P-8
BOOST_AUTO_TEST_CASE(a_token_that_no_step_has_fed_is_refused) {
  sim_replica ranks(2);
  (void)ranks.start_epoch();
  auto plan = next_plan({});
  plan.flags[0] &= static_cast<std::uint8_t>(~protocol::flag_feeds);
  BOOST_TEST(ranks.execute(plan).has_value());
  const auto refused = ranks.execute(next_plan(plan));
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::corrupt));
  BOOST_TEST(refused.error().context.find("is fed") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_steady_state_that_feeds_tokens_allocates_nothing) { // E-3
  vault::memory_vault memory;
  exec::sim_runner runner(
      {.place = {.layers = {0, 3}}, .rank = rank_id(0), .vocabulary = 60, .limits = limits},
      {},
      memory);
  require(runner.load({}));
  require(runner.start_epoch(epoch(1)));
  protocol::step_result out;
  auto plan = next_plan({});
  require(runner.execute(plan, out));
  std::size_t made = 0;
  for (int step = 0; step < 30; ++step) {
    plan = next_plan(plan);
    const auto at_start = testing::allocations();
    require(runner.execute(plan, out));
    made += testing::allocations() - at_start;
  }
  BOOST_TEST(made == 0U);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
