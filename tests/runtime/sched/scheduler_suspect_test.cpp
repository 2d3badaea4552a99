// Requests over which steps died: each runs alone until its next token, and the others neither starve nor notice (S-10).
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist;
using namespace vdist::testing;

namespace {

using ids = std::vector<std::uint64_t>;

/// Three requests that decode, each with a token already.
struct three_decode {
  explicit three_decode(const sched::scheduler_config& config) : world(config) {
    for (std::uint64_t id = 1; id <= 3; ++id) {
      world.add(make_request(id, {1, 2, static_cast<token_id>(id)}, 6));
    }
    step();
  }

  three_decode() : three_decode(small_config(24, 2, 16)) {}

  /// Who was in it.
  ids step() {
    BOOST_REQUIRE(world.submit());
    auto planned = world.last_plan().request_ids;
    world.retire();
    world.check_integrity();
    return planned;
  }

  void finish() {
    world.drain(200);
    world.check_end();
  }

  sched_harness world;
};

sched::scheduler_config overlapped(std::int32_t steps, bool feeds) {
  auto config = small_config(24, 2, 16);
  config.max_steps_in_flight = steps;
  config.feeds_tokens = feeds;
  return config;
}

} // namespace

#define CHECK_STEP(step, ...)                                                                      \
  BOOST_TEST((step) == (ids{__VA_ARGS__}), boost::test_tools::per_element())

BOOST_AUTO_TEST_SUITE(suspects)

BOOST_FIXTURE_TEST_CASE(a_suspect_runs_alone_until_it_has_a_token, three_decode) { // S-10
  world.fence();
  world.suspect({request_id(2)});
  CHECK_STEP(step(), 2);
  CHECK_STEP(step(), 1, 2, 3);
  finish();
}

BOOST_FIXTURE_TEST_CASE(several_come_one_after_the_other, three_decode) {
  world.fence();
  world.suspect({request_id(3), request_id(1)});
  CHECK_STEP(step(), 1);
  CHECK_STEP(step(), 3);
  CHECK_STEP(step(), 1, 2, 3);
  finish();
}

BOOST_FIXTURE_TEST_CASE(it_goes_on_alone_when_its_step_is_fenced, three_decode) {
  world.fence();
  world.suspect({request_id(2)});
  BOOST_REQUIRE(world.submit());
  world.fence();
  CHECK_STEP(step(), 2);
  CHECK_STEP(step(), 1, 2, 3);
  finish();
}

BOOST_FIXTURE_TEST_CASE(a_suspect_that_is_failed_leaves_the_others_as_they_were, three_decode) {
  world.fence();
  world.suspect({request_id(2)});
  BOOST_REQUIRE(world.submit());
  world.fence();
  world.cancel(request_id(2)); // as fail_request() does
  CHECK_STEP(step(), 1, 3);
  finish();
}

BOOST_FIXTURE_TEST_CASE(a_suspect_that_is_cancelled_in_flight_holds_nobody_up, three_decode) {
  world.fence();
  world.suspect({request_id(2)});
  BOOST_REQUIRE(world.submit());
  world.cancel(request_id(2));
  world.retire();
  CHECK_STEP(step(), 1, 3);
  finish();
}

BOOST_AUTO_TEST_CASE(a_prompt_is_computed_alone_to_its_first_token) {
  auto config = small_config(24, 2, 16);
  config.max_prefill_chunk = 2;
  three_decode three(config); // every first chunk
  three.world.fence();
  three.world.suspect({request_id(3)});
  CHECK_STEP(three.step(), 3); // its second and last chunk
  BOOST_TEST(three.world.generated(request_id(3)) == 1U);
  CHECK_STEP(three.step(), 1, 2, 3); // the chunks of the others come with its decoding
  three.finish();

  three_decode longer(config);
  longer.world.add(make_request(4, {5, 6, 7, 8, 9, 10, 11}, 2));
  longer.step();
  longer.world.fence();
  longer.world.suspect({request_id(4)});
  for (int chunk = 0; chunk < 3; ++chunk) {
    CHECK_STEP(longer.step(), 4);
  }
  BOOST_TEST(longer.world.generated(request_id(4)) == 1U);
  longer.finish();
}

BOOST_FIXTURE_TEST_CASE(one_that_waits_is_let_in_alone_at_its_turn, three_decode) {
  world.restart_scheduler(); // all wait
  world.suspect({request_id(2)});
  CHECK_STEP(step(), 1); // before its turn
  CHECK_STEP(step(), 2); // nobody overtakes it (S-6)
  CHECK_STEP(step(), 1, 2, 3);
  finish();
}

BOOST_AUTO_TEST_CASE(steps_in_flight_end_before_a_suspect_is_let_in) {
  three_decode three(overlapped(2, true));
  three.world.restart_scheduler();
  three.world.suspect({request_id(2)});
  BOOST_REQUIRE(three.world.submit()); // the first request
  BOOST_TEST(!three.world.submit());
  three.world.retire();
  CHECK_STEP(three.step(), 2);
  three.finish();
}

BOOST_AUTO_TEST_CASE(it_is_alone_in_flight_too) {
  for (const bool feeds : {false, true}) { // a pipeline, and an overlapped single stage
    three_decode three(overlapped(2, feeds));
    while (three.world.submit()) {
    }
    three.world.fence();
    three.world.suspect({request_id(1), request_id(3)});
    for (const std::uint64_t id : {1, 3}) {
      BOOST_REQUIRE(three.world.submit());
      CHECK_STEP(three.world.last_plan().request_ids, id);
      BOOST_TEST(!three.world.submit(), "S-10: no other step is in flight, not even its own");
      three.world.retire();
    }
    BOOST_REQUIRE(three.world.submit());
    three.finish();
  }
}

/// Three of 5 positions at most, over 6 blocks of 2.
BOOST_AUTO_TEST_CASE(a_suspect_takes_blocks_of_those_behind_it) {
  auto config = small_config(6, 2, 8);
  config.prefix_cache = false;
  three_decode three(config); // two blocks each: none is left
  CHECK_STEP(three.step(), 1, 2, 3);
  three.world.fence();
  three.world.suspect({request_id(1)});
  CHECK_STEP(three.step(), 1); // the third gave its blocks up
  BOOST_TEST(three.world.preemptions() == 1U);
  three.finish();
}

BOOST_AUTO_TEST_CASE(a_suspect_behind_everybody_waits_for_blocks_of_its_own) {
  auto config = small_config(6, 2, 8);
  config.prefix_cache = false;
  three_decode three(config);
  CHECK_STEP(three.step(), 1, 2, 3);
  three.world.fence();
  three.world.suspect({request_id(3)});
  CHECK_STEP(three.step(), 1, 2); // it gave its own up, so that they can go on
  BOOST_TEST(three.world.preemptions() == 1U);
  three.finish(); // and comes back alone: the harness looks
}

BOOST_AUTO_TEST_CASE(one_that_is_over_or_unknown_is_no_suspect) {
  sched::scheduler scheduler(small_config(8, 2, 16));
  BOOST_TEST(!scheduler.suspect(request_id(1)));
  BOOST_REQUIRE(scheduler.add(make_request(1, {1, 2}, 3)));
  BOOST_TEST(scheduler.suspect(request_id(1)));
  BOOST_TEST(scheduler.suspect(request_id(1)));
  BOOST_TEST(scheduler.fail_request(request_id(1), "its step ended a worker"));
  BOOST_TEST(!scheduler.suspect(request_id(1)));
  BOOST_TEST(scheduler.check_integrity().has_value());
}

BOOST_AUTO_TEST_SUITE_END()
