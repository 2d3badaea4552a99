#include "transport/frame/frame_gate.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::frame;

BOOST_AUTO_TEST_SUITE(frame_gate_suite)

namespace {

expectation example_peer() {
  return expectation{
      .cluster = 1, .protocol = 2, .group = 3, .epoch = 10, .sender = 4, .incarnation = 5};
}

envelope from_peer(std::uint64_t sequence) {
  return envelope{.protocol = 2,
                  .sender = 4,
                  .cluster = 1,
                  .incarnation = 5,
                  .group = 3,
                  .epoch = 10,
                  .sequence = sequence};
}

} // namespace

BOOST_AUTO_TEST_CASE(passes_a_gapless_sequence_from_wherever_it_starts) {
  frame_gate gate(example_peer());
  for (std::uint64_t s = 40; s < 50; ++s) {
    BOOST_CHECK(gate.admit(from_peer(s)) == verdict::pass);
  }
  BOOST_TEST(gate.drops().total() == 0U);
}

BOOST_AUTO_TEST_CASE(reports_a_gap_once_and_drops_repetitions) { // G-3
  frame_gate gate(example_peer());
  gate.start_at(1);
  BOOST_CHECK(gate.admit(from_peer(1)) == verdict::pass);
  BOOST_CHECK(gate.admit(from_peer(1)) == verdict::drop);
  BOOST_CHECK(gate.admit(from_peer(4)) == verdict::lost);
  BOOST_CHECK(gate.admit(from_peer(4)) == verdict::pass);
  BOOST_CHECK(gate.admit(from_peer(5)) == verdict::pass);
  BOOST_CHECK(gate.admit(from_peer(3)) == verdict::drop);
  BOOST_TEST(gate.drops().of(drop_reason::gap) == 1U);
  BOOST_TEST(gate.drops().of(drop_reason::duplicate) == 2U);
}

BOOST_AUTO_TEST_CASE(reports_a_damaged_frame_no_second_time_as_a_gap) {
  frame_gate gate(example_peer());
  gate.start_at(1);
  BOOST_CHECK(gate.admit(from_peer(1)) == verdict::pass);
  gate.refuse(drop_reason::bad_checksum); // this was frame 2
  BOOST_CHECK(gate.admit(from_peer(3)) == verdict::pass);
  gate.refuse(drop_reason::torn);
  BOOST_CHECK(gate.admit(from_peer(5)) == verdict::lost);
}

BOOST_AUTO_TEST_CASE(hears_nobody_but_its_peer) { // G-1
  frame_gate gate(example_peer());
  const auto is_foreign = [&gate](auto change) {
    auto header = from_peer(1);
    change(header);
    return gate.admit(header) == verdict::drop;
  };
  BOOST_TEST(is_foreign([](envelope& h) { h.cluster = 9; }));
  BOOST_TEST(is_foreign([](envelope& h) { h.protocol = 9; }));
  BOOST_TEST(is_foreign([](envelope& h) { h.group = 9; }));
  BOOST_TEST(is_foreign([](envelope& h) { h.sender = 9; }));
  BOOST_TEST(gate.drops().of(drop_reason::foreign) == 4U);
  BOOST_CHECK(gate.admit(from_peer(1)) == verdict::pass);
}

BOOST_AUTO_TEST_CASE(drops_the_past_and_holds_the_future) { // G-2
  frame_gate gate(example_peer());
  gate.start_at(1);
  auto old = from_peer(1);
  old.epoch = 9;
  BOOST_CHECK(gate.admit(old) == verdict::drop);
  auto dead = from_peer(2);
  dead.incarnation = 4;
  BOOST_CHECK(gate.admit(dead) == verdict::drop);
  auto future = from_peer(3);
  future.epoch = 11;
  BOOST_CHECK(gate.admit(future) == verdict::hold);
  BOOST_CHECK(gate.admit(future) == verdict::hold);
  auto next = example_peer();
  next.epoch = 11;
  gate.expect(next);
  BOOST_CHECK(gate.admit(future) == verdict::pass);
  BOOST_TEST(gate.drops().of(drop_reason::stale_epoch) == 1U);
  BOOST_TEST(gate.drops().of(drop_reason::stale_incarnation) == 1U);
  BOOST_TEST(gate.drops().total() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
