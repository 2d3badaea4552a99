// S-12: what is in the host store is not computed again; what is not, is computed and counted.
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <numeric>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::int32_t block_size = 4;

sched::scheduler_config roomy_config() {
  auto config = small_config(64, block_size, 80);
  config.max_batch_tokens = 64;
  config.max_steps_in_flight = 2;
  config.feeds_tokens = true;
  return config;
}

std::vector<token_id> counted_prompt(std::int32_t length, token_id first) {
  std::vector<token_id> prompt(static_cast<std::size_t>(length));
  std::iota(prompt.begin(), prompt.end(), first);
  for (auto& token : prompt) {
    token %= 13;
  }
  return prompt;
}

void run_steps(sched_harness& world, int steps) {
  for (int i = 0; i < steps; ++i) {
    while (world.submit()) {
    }
    (void)world.retire();
    world.check_integrity();
  }
}

/// Three requests in the middle of decoding.
void begin_three(sched_harness& world) {
  for (std::uint64_t id = 1; id <= 3; ++id) {
    world.add(make_request(id, counted_prompt(21, static_cast<token_id>(id)), 50));
  }
  run_steps(world, 30);
  BOOST_REQUIRE(world.open_requests() == 3U);
}

} // namespace

BOOST_AUTO_TEST_SUITE(a_scheduler_with_a_host_store)

BOOST_AUTO_TEST_CASE(computes_a_block_and_what_is_on_its_way_again_when_all_kv_is_lost) {
  for (int fault = 0; fault < 2; ++fault) {
    sched_harness world(roomy_config(), {.slots = 200, .saves_max = 8});
    begin_three(world);
    fault == 0 ? world.fence_and_lose_kv() : world.restart_scheduler();
    world.drain(500);
    world.check_end();
    // A save comes up to two steps after its block is full, and takes up to two and three more.
    BOOST_TEST(world.tokens_computed_again() > 0U);
    BOOST_TEST(world.tokens_computed_again() <= 3U * (block_size - 1 + 7));
    BOOST_TEST(world.tokens_loaded() >= 3U * 40);
  }
}

BOOST_AUTO_TEST_CASE(computes_everything_again_without_one) {
  sched_harness world(roomy_config());
  begin_three(world);
  world.fence_and_lose_kv();
  world.drain(500);
  world.check_end();
  BOOST_TEST(world.tokens_computed_again() >= 3U * 40);
  BOOST_TEST(world.tokens_loaded() == 0U);
}

BOOST_AUTO_TEST_CASE(saves_a_block_that_several_requests_have_once) {
  sched_harness world(roomy_config(), {.slots = 200, .saves_max = 8});
  for (std::uint64_t id = 1; id <= 4; ++id) {
    world.add(make_request(id, counted_prompt(40, 1), 1));
    run_steps(world, 1);
  }
  world.add(
      make_request(9, counted_prompt(3, 1), 40)); // gives the others' blocks steps to be saved with
  world.drain(500);
  BOOST_TEST(world.blocks_saved() <= 40U / block_size + 40U / block_size + 1);
  world.check_end();
}

BOOST_AUTO_TEST_CASE(never_has_more_on_its_way_than_it_may_and_waits_for_nothing) {
  sched_harness slow(roomy_config(), {.slots = 200, .saves_max = 1});
  begin_three(slow); // the model worker checks the bound
  BOOST_TEST(slow.blocks_saved() > 3U);
  BOOST_TEST(slow.blocks_saved() < 30U);
  slow.fence_and_lose_kv();
  slow.drain(500);
  slow.check_end();
}

BOOST_AUTO_TEST_CASE(loads_again_when_the_step_that_loads_is_fenced) {
  sched_harness world(roomy_config(), {.slots = 200, .saves_max = 8});
  begin_three(world);
  world.fence_and_lose_kv();
  for (int i = 0; i < 3; ++i) {
    BOOST_REQUIRE(world.submit());
    BOOST_TEST(!world.last_plan().loads.empty());
    world.fence();
    world.check_integrity();
  }
  BOOST_TEST(world.tokens_loaded() == 0U);
  world.drain(500);
  world.check_end();
  BOOST_TEST(world.tokens_loaded() > 0U);
}

BOOST_AUTO_TEST_CASE(goes_on_with_a_store_that_is_full_of_what_runs) {
  sched_harness world(roomy_config(), {.slots = 4, .saves_max = 8});
  begin_three(world);
  BOOST_TEST(world.blocks_saved() == 4U);
  world.fence_and_lose_kv();
  world.drain(500);
  world.check_end();
}

BOOST_AUTO_TEST_SUITE_END()
