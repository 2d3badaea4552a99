// Epochs that begin while dead workers may still write what they had begun: nobody else gets these blocks (S-11), and what fed
// their steps is sampled again as it was (S-13).
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist;
using namespace vdist::testing;

namespace {

/// Two requests of one block each that need another one soon, and a pool of `blocks`.
struct two_decode {
  explicit two_decode(std::int32_t blocks) : world(config_with(blocks)) {
    for (std::uint64_t id = 1; id <= 2; ++id) {
      world.add(make_request(id, {1, static_cast<token_id>(id)}, 6));
    }
    step();
  }

  static sched::scheduler_config config_with(std::int32_t blocks) {
    auto config = small_config(blocks, 4, 8);
    config.prefix_cache = false;
    return config;
  }

  void step() {
    BOOST_REQUIRE(world.submit());
    world.retire();
    world.check_integrity();
  }

  void write_all() {
    for (std::uint64_t i = 0; i < 100; ++i) {
      world.write_late(i);
    }
  }

  [[nodiscard]] sched::scheduler_stats stats() { return world.scheduler().stats(); }

  void finish() {
    world.drain(200);
    world.check_end();
  }

  sched_harness world;
};

} // namespace

BOOST_AUTO_TEST_SUITE(late_writers)

BOOST_AUTO_TEST_CASE(who_had_the_blocks_goes_on_at_once) { // S-11
  two_decode late(8);
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.step();
  late.write_all();
  late.step();
  BOOST_TEST(late.world.late_writes() > 0U);
  late.finish();
}

BOOST_AUTO_TEST_CASE(what_a_request_gives_up_is_nobodys_until_they_have_gone) { // S-11
  two_decode late(2);
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.cancel(request_id(1));
  late.world.add(make_request(3, {5, 5, 5}, 2));
  late.step();
  BOOST_TEST((late.world.last_plan().request_ids == std::vector<std::uint64_t>{2}));
  BOOST_TEST(late.stats().waiting == 1);
  late.write_all();
  late.world.writers_go();
  late.step();
  BOOST_TEST((late.world.last_plan().request_ids == std::vector<std::uint64_t>{2, 3}));
  late.finish();
}

/// Both need their second block, and the only one that is free by then was written to when the worker died.
BOOST_AUTO_TEST_CASE(nobody_is_preempted_for_a_block_that_will_be_free) { // S-11
  two_decode late(3);
  late.world.add(make_request(3, {7, 7}, 4));
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.cancel(request_id(3));
  late.step();
  late.step();
  BOOST_TEST(!late.world.submit(), "they wait");
  BOOST_TEST(late.stats().preemptions == 0U);
  BOOST_TEST(late.stats().running == 2);
  late.world.writers_go();
  BOOST_TEST(late.world.submit());
  late.world.retire();
  late.finish();
}

BOOST_AUTO_TEST_CASE(a_suspect_waits_as_well) { // S-10, S-11
  two_decode late(3);
  late.world.add(make_request(3, {7, 7}, 4));
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.cancel(request_id(3));
  late.step();
  late.step();
  late.world.suspect({request_id(2)});
  BOOST_TEST(!late.world.submit());
  BOOST_TEST(late.stats().running == 2);
  late.world.writers_go();
  BOOST_REQUIRE(late.world.submit());
  BOOST_TEST((late.world.last_plan().request_ids == std::vector<std::uint64_t>{2}));
  late.world.retire();
  late.finish();
}

BOOST_AUTO_TEST_CASE(the_next_epoch_without_them_says_it_too) { // S-11
  two_decode late(2);
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.cancel(request_id(1));
  BOOST_TEST(late.world.scheduler().stats().blocks_free == 1);
  late.world.add(make_request(3, {5, 5, 5}, 2));
  late.step();
  BOOST_TEST(late.stats().waiting == 1);
  late.world.writers_go(); // the harness says it of the present epoch
  late.world.fence();
  late.step();
  BOOST_TEST(late.stats().waiting == 0);
  late.finish();
}

BOOST_AUTO_TEST_CASE(of_another_epoch_nothing_is_lifted) { // S-11
  two_decode late(2);
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.cancel(request_id(1));
  late.world.add(make_request(3, {5, 5, 5}, 2));
  late.world.scheduler().lift(epoch(1));
  late.step();
  BOOST_TEST(late.stats().waiting == 1);
  late.finish();
}

/// It does not know what was in flight.
BOOST_AUTO_TEST_CASE(a_new_scheduler_plans_nothing_before_they_have_gone) { // S-11
  two_decode late(8);
  BOOST_REQUIRE(late.world.submit());
  late.world.fence_late();
  late.world.take_over();
  BOOST_TEST(!late.world.submit());
  late.write_all();
  late.world.fence(); // nor in the next epoch
  BOOST_TEST(!late.world.submit());
  late.world.writers_go();
  late.step();
  late.finish();
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

/// Two requests that decode, each in two steps in flight of which the first feeds the second.
struct two_fed {
  two_fed() : world(config()) {
    for (std::uint64_t id = 1; id <= 2; ++id) {
      world.add(make_request(id, {1, static_cast<token_id>(id)}, 6));
    }
    submit({1, 2});
    world.retire();
    submit({1, 2});
    submit({1, 2});
  }

  static sched::scheduler_config config() {
    auto config = small_config(16, 4, 8);
    config.prefix_cache = false;
    config.max_steps_in_flight = 2;
    config.feeds_tokens = true;
    return config;
  }

  void submit(const std::vector<std::uint64_t>& wanted) {
    BOOST_REQUIRE(world.submit());
    BOOST_TEST(world.last_plan().request_ids == wanted, boost::test_tools::per_element());
  }

  void finish() {
    world.drain(200);
    world.check_end();
  }

  sched_harness world;
};

} // namespace

BOOST_AUTO_TEST_SUITE(steps_that_fed_late_writes)

BOOST_AUTO_TEST_CASE(are_repeated_before_anybody_is_let_in) { // S-13
  two_fed late;
  late.world.fence_late();
  late.world.add(make_request(3, {7, 7}, 2));
  late.submit({1, 2});
  late.submit({1, 2, 3}); // nothing was fed by that one
  late.finish();
}

BOOST_AUTO_TEST_CASE(are_repeated_until_one_of_them_is_committed) { // S-13
  two_fed late;
  late.world.fence_late();
  late.submit({1, 2});
  late.world.fence();
  late.world.add(make_request(3, {7, 7}, 2));
  late.submit({1, 2});
  late.world.retire();
  late.submit({1, 2, 3});
  late.finish();
}

BOOST_AUTO_TEST_CASE(wait_for_the_end_of_the_writers_where_one_has_ended) { // S-13
  two_fed late;
  late.world.fence_late();
  late.world.cancel(request_id(1));
  BOOST_TEST(!late.world.submit());
  late.world.writers_go();
  late.submit({2});
  late.finish();
}

BOOST_AUTO_TEST_CASE(wait_also_when_he_ended_before_the_fence) { // S-13
  two_fed late;
  late.world.cancel(request_id(1));
  late.world.fence_late();
  BOOST_TEST(!late.world.submit());
  late.world.fence();
  BOOST_TEST(!late.world.submit(), "the writers have not gone");
  late.world.writers_go();
  late.submit({2});
  late.finish();
}

BOOST_AUTO_TEST_CASE(wait_where_one_must_run_alone) { // S-10, S-13
  two_fed late;
  late.world.fence_late();
  late.world.suspect({request_id(2)});
  BOOST_TEST(!late.world.submit());
  late.world.writers_go();
  late.submit({2});
  late.finish();
}

BOOST_AUTO_TEST_CASE(are_not_asked_for_when_all_kv_is_gone) { // S-13
  two_fed late;
  late.world.fence_late();
  late.world.fence_and_lose_kv();
  late.world.cancel(request_id(1));
  late.submit({2});
  late.finish();
}

BOOST_AUTO_TEST_SUITE_END()
