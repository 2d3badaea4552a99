#include "actors/executor/sequence_meter.hpp"

#include "runtime/base/clock.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;
using protocol::finish_reason;

namespace {

struct sequence_fixture {
  void plan(std::vector<std::uint64_t> ids, std::uint8_t flags, std::int32_t tokens) {
    protocol::step_plan out;
    for (const auto id : ids) {
      out.slots.push_back(static_cast<std::uint32_t>(id));
      out.request_ids.push_back(id);
      out.flags.push_back(flags);
      out.token_counts.push_back(tokens);
    }
    meter.planned(out, time.now());
  }

  void commit(std::uint64_t id,
              std::int32_t position,
              token_id token,
              finish_reason reason = finish_reason::none) {
    meter.committed(
        {{.id = request_id(id), .position = position, .token = token, .reason = reason}},
        time.now());
  }

  static double only(const metrics::histogram& of) {
    BOOST_TEST(of.snapshot().count() == 1U);
    return of.snapshot().sum;
  }

  manual_clock time;
  metrics::request_metrics into{256};
  sequence_meter meter{&into};
};

} // namespace

BOOST_AUTO_TEST_SUITE(sequence_meters)

BOOST_FIXTURE_TEST_CASE(queue_prefill_and_decode_follow_each_other, sequence_fixture) {
  meter.queued(request_id(1), time.now());
  time.advance(1s);
  plan({1}, protocol::flag_new, 8);
  time.advance(2s);
  plan({1}, 0, 8);
  plan({1}, protocol::flag_new, 8); // announced again, in a new epoch or behind a preemption
  commit(1, 0, 5);
  time.advance(4s);
  commit(1, 1, 6, finish_reason::length);
  BOOST_TEST(only(into.queue_time) == 1.0);
  BOOST_TEST(only(into.prefill_time) == 2.0);
  BOOST_TEST(only(into.decode_time) == 4.0);
  BOOST_TEST(only(into.inference_time) == 6.0);
  BOOST_TEST(into.iteration_tokens.snapshot().count() == 3U);
  BOOST_TEST(into.iteration_tokens.snapshot().sum == 24.0);
}

BOOST_FIXTURE_TEST_CASE(one_token_that_is_the_end_has_no_decode_time, sequence_fixture) {
  meter.queued(request_id(1), time.now());
  plan({1}, protocol::flag_new, 8);
  time.advance(1s);
  commit(1, 0, 5, finish_reason::stop);
  BOOST_TEST(only(into.decode_time) == 0.0);
  BOOST_TEST(only(into.inference_time) == 1.0);
}

BOOST_FIXTURE_TEST_CASE(who_is_taken_up_again_or_ends_unseen_is_not_measured, sequence_fixture) {
  plan({7}, protocol::flag_new, 1); // came with tokens: never queued here
  commit(7, 3, 5, finish_reason::length);
  meter.queued(request_id(8), time.now());
  commit(8, 0, -1, finish_reason::cancelled); // while it waited
  commit(8, 0, 5);
  BOOST_TEST(into.queue_time.snapshot().count() == 0U);
  BOOST_TEST(into.prefill_time.snapshot().count() == 0U);
  BOOST_TEST(into.decode_time.snapshot().count() == 0U);
  sequence_meter blind(nullptr);
  blind.queued(request_id(1), time.now());
  blind.note({.preemptions = 3});
}

BOOST_FIXTURE_TEST_CASE(counts_go_on_behind_a_lane_that_ended, sequence_fixture) { // M-1
  meter.note({.preemptions = 2, .prefix_tokens = 10, .prefix_hits = 4, .tokens_dropped = 1});
  meter.note({.preemptions = 3, .prefix_tokens = 15, .prefix_hits = 4, .tokens_dropped = 1});
  sequence_meter successor(&into);
  successor.note({.preemptions = 1, .prefix_tokens = 2, .prefix_hits = 1, .tokens_dropped = 0});
  BOOST_TEST(into.preemptions == 4U);
  BOOST_TEST(into.prefix_queries == 17U);
  BOOST_TEST(into.prefix_hits == 5U);
  BOOST_TEST(into.surplus_tokens == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
