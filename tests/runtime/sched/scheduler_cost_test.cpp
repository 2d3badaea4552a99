// What a step may cost: no allocation in a steady state, and nothing for those who wait.
#include "tests/bench/runtime/sched/sched_bench.hpp"
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> allocations{0};

} // namespace

// The whole program counts: there is no other way to see what a vector does inside. Never inlined:
// the compiler would see malloc and delete meet, and warn.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) {
    return memory;
  }
  throw std::bad_alloc();
}

[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}

[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace vdist;
using namespace vdist::testing;

namespace {

/// Allocations of the plans of a steady state, made one after the other.
std::uint64_t allocations_of_plans(bool feeds_tokens) {
  auto config = small_config(4096, 16, 512);
  config.max_steps_in_flight = 2;
  config.feeds_tokens = feeds_tokens;
  sched::scheduler scheduler(config);
  for (std::uint64_t id = 1; id <= 64; ++id) {
    BOOST_TEST(
        scheduler.add(make_request(id, {1, static_cast<token_id>(id % 13)}, 400)).has_value());
  }
  protocol::step_plan plans[2];
  protocol::step_result result;
  std::vector<protocol::token_event> events;
  std::uint64_t planning = 0;
  for (std::uint64_t step = 1; step <= 300; ++step) {
    const auto before = allocations.load();
    auto& made = plans[step % 2];
    BOOST_REQUIRE(scheduler.plan(step_id(step), epoch(1), made));
    // The plan's own columns have grown to their size by then.
    planning += step > 40 ? allocations.load() - before : 0;
    // With fed tokens the step before is still in flight while this one is planned.
    if (feeds_tokens && step == 1) {
      continue;
    }
    const auto& plan = feeds_tokens ? plans[(step + 1) % 2] : made;
    result.clear();
    result.step = plan.step;
    result.epoch = plan.epoch;
    for (std::size_t i = 0; i < plan.sequences(); ++i) {
      result.slots.push_back(plan.slots[i]);
      result.tokens.push_back(1);
    }
    events.clear();
    BOOST_REQUIRE(scheduler.commit(result, events).has_value());
  }
  return planning;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_steady_state_plan_allocates_nothing) {
  BOOST_TEST(allocations_of_plans(false) == 0U);
  BOOST_TEST(allocations_of_plans(true) == 0U);
}

BOOST_AUTO_TEST_CASE(ten_thousand_waiting_cost_a_step_no_more_than_a_hundred) {
  const system_clock time;
  bench::sched_load load{.running = 64, .prompt_tokens = 32, .steps = 600, .warmup = 50};
  load.waiting = 100;
  const auto few = bench::measure_scheduler(load, time);
  load.waiting = 10000;
  const auto many = bench::measure_scheduler(load, time);
  BOOST_TEST_MESSAGE("p50 us: " << few.p50_us << " and " << many.p50_us);
  // A scan of the queue would cost a hundredfold; the rest is for a busy machine.
  BOOST_TEST(many.p50_us < 4 * few.p50_us + 5);
}
