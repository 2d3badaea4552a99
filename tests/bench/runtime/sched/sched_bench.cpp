#include "tests/bench/runtime/sched/sched_bench.hpp"

#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

namespace vdist::bench {

namespace {

constexpr std::int32_t vocabulary = 128256;

double microseconds(duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

double quantile(std::vector<double>& values, double q) {
  if (values.empty()) {
    return 0;
  }
  const auto place = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

sched::scheduler_config config_of(const sched_load& load) {
  sched::scheduler_config config;
  config.max_sequences = load.running;
  config.max_waiting = load.waiting + load.running;
  config.max_model_len = load.prompt_tokens + load.generated_tokens;
  config.blocks = load.running * (config.max_model_len / config.block_size + 2);
  config.vocabulary = vocabulary;
  config.prefix_cache = load.prefix_cache;
  const auto ahead = sched::overlap_of(1, load.is_async);
  config.max_steps_in_flight = ahead.steps_in_flight;
  config.feeds_tokens = ahead.feeds_tokens;
  return config;
}

struct alignas(64) cache_line {
  std::byte bytes[64];
};

class steady_state {
public:
  steady_state(const sched_load& load, const clock& time)
      : load_(load),
        time_(time),
        memory_(sched::kv_table::bytes_for(sched::table_config_of(config_of(load)))
                / sizeof(cache_line)),
        table_(std::as_writable_bytes(std::span(memory_)), sched::table_config_of(config_of(load))),
        scheduler_(config_of(load), load.keeps_kv ? &table_ : nullptr),
        plans_(static_cast<std::size_t>(scheduler_.config().max_steps_in_flight)) {
    for (std::int32_t i = 0; i < load.running + load.waiting; ++i) {
      add();
    }
    while (step_ + 1 < plans_.size()) {
      (void)scheduler_.plan(step_id(step_ + 1), epoch(1), plan_of(step_ + 1));
      ++step_;
    }
  }

  /// Plans a step and commits the oldest one in flight.
  void step(bool is_measured) {
    const auto start = time_.now();
    const bool is_planned = scheduler_.plan(step_id(step_ + 1), epoch(1), plan_of(step_ + 1));
    const auto planned = time_.now();
    VDIST_CHECK(is_planned, "bench: there must always be work");
    ++step_;
    answer(plan_of(step_ + 1 - plans_.size()));
    events_.clear();
    const auto answered = time_.now();
    const auto outcome = scheduler_.commit(result_, events_);
    const auto committed = time_.now();
    VDIST_CHECK(outcome.has_value(), "bench: the result must fit");
    if (is_measured) {
      plan_us_.push_back(microseconds(planned - start));
      commit_us_.push_back(microseconds(committed - answered));
      total_us_.push_back(plan_us_.back() + commit_us_.back());
      sequences_ += static_cast<double>(plan_of(step_).sequences());
    }
    for (const auto& event : events_) {
      if (event.reason != protocol::finish_reason::none) {
        add();
      }
    }
  }

  sched_figures figures() {
    sched_figures all;
    all.sequences_mean =
        sequences_ / static_cast<double>(std::max<std::size_t>(1, total_us_.size()));
    all.p50_us = quantile(total_us_, 0.5);
    all.p99_us = quantile(total_us_, 0.99);
    all.max_us = quantile(total_us_, 1);
    all.plan_p50_us = quantile(plan_us_, 0.5);
    all.commit_p50_us = quantile(commit_us_, 0.5);
    all.add_p50_us = quantile(add_us_, 0.5);
    return all;
  }

private:
  void add() {
    protocol::request request;
    request.id = request_id(++last_id_);
    request.arrival = last_id_;
    request.prompt.resize(static_cast<std::size_t>(load_.prompt_tokens));
    for (auto& token : request.prompt) {
      token = static_cast<token_id>(random_() % static_cast<std::uint64_t>(vocabulary));
    }
    // The first ones end at different times, so that later steps see an even flow of ends.
    const auto spread = static_cast<std::uint64_t>(load_.generated_tokens);
    request.max_tokens = last_id_ <= static_cast<std::uint64_t>(load_.running)
                             ? static_cast<std::int32_t>(1 + last_id_ % spread)
                             : load_.generated_tokens;
    const auto start = time_.now();
    const auto outcome = scheduler_.add(std::move(request));
    add_us_.push_back(microseconds(time_.now() - start));
    VDIST_CHECK(outcome.has_value(), "bench: the request must fit");
  }

  protocol::step_plan& plan_of(std::uint64_t step) { return plans_[step % plans_.size()]; }

  void answer(const protocol::step_plan& plan) {
    result_.clear();
    result_.step = plan.step;
    result_.epoch = plan.epoch;
    for (std::size_t i = 0; i < plan.sequences(); ++i) {
      if ((plan.flags[i] & protocol::flag_samples) != 0) {
        result_.slots.push_back(plan.slots[i]);
        result_.tokens.push_back(
            static_cast<token_id>(random_() % static_cast<std::uint64_t>(vocabulary)));
      }
    }
  }

  const sched_load load_;
  const clock& time_;
  std::vector<cache_line> memory_;
  sched::kv_table table_;
  sched::scheduler scheduler_;
  std::mt19937_64 random_{7};
  std::uint64_t last_id_ = 0;
  std::uint64_t step_ = 0;
  double sequences_ = 0;
  std::vector<protocol::step_plan> plans_; // in flight, and the one being made
  protocol::step_result result_;
  std::vector<protocol::token_event> events_;
  std::vector<double> plan_us_;
  std::vector<double> commit_us_;
  std::vector<double> total_us_;
  std::vector<double> add_us_;
};

} // namespace

sched_figures measure_scheduler(const sched_load& load, const clock& time) {
  steady_state state(load, time);
  for (std::int32_t i = 0; i < load.warmup; ++i) {
    state.step(false);
  }
  for (std::int32_t i = 0; i < load.steps; ++i) {
    state.step(true);
  }
  return state.figures();
}

} // namespace vdist::bench
