#include "transport/tensor/shared_pipe.hpp"

#include "tests/transport/tensor/group_fixture.hpp"

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(shared_pipe_suite)

namespace {

constexpr std::uint32_t slots = 3;
constexpr std::size_t slot_floats = 40;

struct pipe_pair {
  explicit pipe_pair(std::chrono::milliseconds limit = 20s) : timeout(limit) {
    out = join(tensor::pipe_end::sender);
    in = join(tensor::pipe_end::receiver);
  }

  [[nodiscard]] std::unique_ptr<tensor::pipe> join(tensor::pipe_end end) {
    auto made = tensor::make_shared_pipe(
        region.span(),
        {.end = end, .slots = slots, .slot_floats = slot_floats, .timeout = timeout, .stop = &stop},
        frame::wait_policy({.spin_budget = 50us, .slice_max = 10s}, group_clock));
    BOOST_REQUIRE(made);
    return std::move(made).value();
  }

  void start(epoch next) {
    BOOST_REQUIRE(out->start_epoch(next));
    BOOST_REQUIRE(in->start_epoch(next));
  }

  std::chrono::milliseconds timeout;
  test_region region{tensor::pipe_bytes(slots, slot_floats)};
  frame::fence stop;
  std::unique_ptr<tensor::pipe> out;
  std::unique_ptr<tensor::pipe> in;
};

errc error_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

bool receives(tensor::pipe& in, std::uint64_t n, std::size_t floats) {
  std::vector<float> got(floats);
  return in.recv(got) && has_same_bits(got, contribution(0, n, floats));
}

} // namespace

BOOST_AUTO_TEST_CASE(delivers_messages_of_all_sizes_in_order) {
  pipe_pair both;
  both.start(epoch(1));
  constexpr std::uint64_t messages = 2000;
  const auto size_of = [](std::uint64_t n) {
    return n * 13 % 131;
  }; // up to four chunks, also none
  bool is_sent = true;
  std::thread sending([&] {
    for (std::uint64_t n = 0; n < messages; ++n) {
      is_sent = is_sent && both.out->send(contribution(0, n, size_of(n)));
    }
  });
  std::uint64_t right = 0;
  while (right < messages && receives(*both.in, right, size_of(right))) {
    ++right;
  }
  sending.join();
  BOOST_TEST(right == messages);
  BOOST_TEST(is_sent);
}

BOOST_AUTO_TEST_CASE(a_full_pipe_makes_the_sender_wait) {
  pipe_pair both(5ms);
  both.start(epoch(1));
  const auto data = contribution(0, 1, 10);
  for (std::uint32_t i = 0; i < slots; ++i) {
    BOOST_REQUIRE(both.out->send(data));
  }
  const auto outcome = both.out->send(data);
  BOOST_CHECK(error_of(outcome) == errc::timed_out);
  BOOST_TEST(outcome.error().context
             == "pipe send: rank 1 is late (epoch=1 bytes=40 its_epoch=1 its_sequence=0)");
}

BOOST_AUTO_TEST_CASE(the_sender_may_be_ahead_of_a_receiver_that_starts_the_epoch_later) {
  pipe_pair both;
  both.start(epoch(1));
  BOOST_REQUIRE(both.out->send(contribution(0, 1, 10)));
  BOOST_REQUIRE(both.out->start_epoch(epoch(2)));
  BOOST_REQUIRE(both.out->send(contribution(0, 2, 10)));
  std::vector<float> data(10);
  BOOST_CHECK(error_of(both.in->recv(data)) == errc::aborted); // the sender is in a newer epoch
  BOOST_REQUIRE(both.in->start_epoch(epoch(2)));
  BOOST_TEST(receives(*both.in, 2, 10)); // and not message 1 (T-3)
}

BOOST_AUTO_TEST_CASE(a_replaced_end_starts_over_and_the_old_one_learns_it) {
  pipe_pair both;
  both.start(epoch(1));
  BOOST_REQUIRE(both.out->send(contribution(0, 1, 10)));
  const auto successor = both.join(tensor::pipe_end::sender);
  BOOST_CHECK(error_of(successor->start_epoch(epoch(1))) == errc::stale);
  BOOST_REQUIRE(successor->start_epoch(epoch(2)));
  BOOST_REQUIRE(both.in->start_epoch(epoch(2)));
  BOOST_CHECK(error_of(both.out->send(contribution(0, 9, 10))) == errc::aborted);
  BOOST_REQUIRE(successor->send(contribution(0, 3, 10)));
  BOOST_TEST(receives(*both.in, 3, 10));
}

BOOST_AUTO_TEST_CASE(a_fence_ends_both_waits) {
  pipe_pair both;
  both.start(epoch(1));
  errc of_recv{};
  std::thread receiving([&] {
    std::vector<float> data(10);
    of_recv = error_of(both.in->recv(data));
  });
  both.stop.raise(epoch(2));
  receiving.join();
  BOOST_CHECK(of_recv == errc::aborted);
  BOOST_CHECK(error_of(both.out->send({})) == errc::aborted);
}

BOOST_AUTO_TEST_CASE(refuses_another_size_and_the_wrong_end) {
  pipe_pair both;
  both.start(epoch(1));
  std::vector<float> data(11);
  BOOST_CHECK(error_of(both.in->send(data)) == errc::invalid_argument);
  BOOST_CHECK(error_of(both.out->recv(data)) == errc::invalid_argument);
  BOOST_REQUIRE(both.out->send(contribution(0, 1, 10)));
  BOOST_CHECK(error_of(both.in->recv(data)) == errc::corrupt);
}

BOOST_AUTO_TEST_SUITE_END()
