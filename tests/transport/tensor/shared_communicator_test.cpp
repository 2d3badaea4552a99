#include "transport/tensor/shared_communicator.hpp"

#include "tests/transport/tensor/shared_family.hpp"

#include <atomic>

using namespace vdist;
using namespace vdist::testing;

VDIST_COMMUNICATOR_CONFORMANCE(shared_thread_conformance, shared_family(rank_host::thread))

BOOST_AUTO_TEST_SUITE(shared_communicator_suite)

namespace {

errc error_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

/// One all-reduce of this rank's contribution; whether the sum has exactly the promised bits.
bool reduces(tensor::communicator& member, std::uint64_t n, std::size_t floats) {
  auto data = contribution(member.rank(), n, floats);
  return member.all_reduce_sum(data) && has_same_bits(data, expected_sum(member.size(), n, floats));
}

} // namespace

BOOST_AUTO_TEST_CASE(survives_ten_thousand_small_operations_back_to_back) {
  for (const std::int32_t size : {2, 3}) {
    test_group group({.size = size});
    group.start_all(epoch(1));
    std::atomic<int> wrong{0};
    group.run([&wrong, size](tensor::communicator& member) {
      std::vector<float> data(16);
      for (int n = 0; n < 10000; ++n) {
        for (std::size_t i = 0; i < data.size(); ++i) {
          data[i] = static_cast<float>((n + 1) * (member.rank() + 1) + static_cast<int>(i));
        }
        wrong += member.all_reduce_sum(data) ? 0 : 1;
        const int ranks_summed = size * (size + 1) / 2;
        for (std::size_t i = 0; i < data.size(); ++i) { // small integers: exact
          wrong +=
              data[i] == static_cast<float>((n + 1) * ranks_summed + size * static_cast<int>(i))
                  ? 0
                  : 1;
        }
      }
    });
    BOOST_TEST(wrong == 0, "size " << size);
  }
}

BOOST_AUTO_TEST_CASE(eight_ranks_that_only_sleep_lose_no_wake_up) {
  test_group group({.size = 8, .waits = {.spin_budget = 0us, .slice_max = 10s}});
  group.start_all(epoch(1));
  std::atomic<int> wrong{0};
  group.run([&wrong](tensor::communicator& member) {
    for (int n = 0; n < 200; ++n) {
      wrong += member.barrier() ? 0 : 1;
    }
  });
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(never_uses_what_a_dead_rank_left_behind) { // T-3
  constexpr std::int32_t size = 3;
  constexpr std::int32_t victim = 1;
  test_group group({.size = size});
  for (std::uint32_t e = 1; e <= 20; ++e) {
    group.start_all(epoch(e));
    std::atomic<int> wrong{0};
    group.run([&wrong, e](tensor::communicator& member) {
      for (std::uint64_t n = 0; n < 5; ++n) {
        wrong += reduces(member, e * 100 + n, 30) ? 0 : 1;
      }
    });
    BOOST_TEST(wrong == 0);
    // The victim dies within an operation, the others are fenced out of it.
    std::thread recovery([&group, e] { group.stop.raise(epoch(e + 1)); });
    group.run(
        [&wrong, e](tensor::communicator& member) {
          wrong += reduces(member, e * 100 + 99, 30) ? 1 : 0;
        },
        victim);
    recovery.join();
    BOOST_TEST(wrong == 0);
    group.replace(victim);
  }
}

BOOST_AUTO_TEST_CASE(waits_for_a_member_that_is_still_in_an_older_epoch) { // T-3
  test_group group({.size = 2, .timeout = 500ms});
  group.start_all(epoch(1));
  std::atomic<int> wrong{0};
  group.run([&wrong](tensor::communicator& member) {
    for (std::uint64_t n = 0; n < 10; ++n) {
      wrong += reduces(member, n, 30) ? 0 : 1;
    }
  });
  BOOST_TEST(wrong == 0);
  // Its flag stands at sequence 10, far beyond what epoch 2 asks for; its slot is full.
  const auto survivor = group.join(0, 2ms);
  BOOST_REQUIRE(survivor->start_epoch(epoch(2)));
  auto data = contribution(0, 0, 30);
  const auto outcome = survivor->all_reduce_sum(data);
  BOOST_REQUIRE(!outcome);
  BOOST_TEST(outcome.error().context
             == "all_reduce_sum: rank 1 is late (epoch=2 bytes=120 its_epoch=1 its_sequence=10)");
}

BOOST_AUTO_TEST_CASE(a_late_writer_of_a_dead_rank_hits_neither_data_nor_flags) { // T-3
  constexpr std::size_t floats = 30;
  test_group group({.size = 2, .timeout = 2ms});
  group.start_all(epoch(1));
  const auto late = group.join(1);
  BOOST_CHECK(error_of(late->start_epoch(epoch(1))) == errc::stale); // one member per place
  BOOST_REQUIRE(late->start_epoch(epoch(2)));
  group.start_all(epoch(3));
  // Place 1 publishes its part of the first exchange of epoch 3, then its wait for rank 0 ends.
  auto data = contribution(1, 0, floats);
  BOOST_CHECK(error_of(group[1].all_reduce_sum(data)) == errc::timed_out);
  // Now the late member of epoch 2 writes its part of the first exchange of its epoch.
  std::vector<float> garbage(floats, 1e30F);
  BOOST_CHECK(error_of(late->all_reduce_sum(garbage)) == errc::aborted);
  BOOST_TEST(reduces(group[0], 0, floats));
}

BOOST_AUTO_TEST_CASE(a_late_thread_that_does_not_give_up_disturbs_nobody) { // T-3
  test_group group({.size = 3});
  group.start_all(epoch(1));
  const auto late = group.join(1);
  BOOST_REQUIRE(late->start_epoch(epoch(2)));
  group.start_all(epoch(3));
  std::atomic<bool> is_over{false};
  errc of_late{};
  std::thread haunting([&] {
    std::vector<float> garbage(30, 1e30F);
    do {
      of_late = error_of(late->all_reduce_sum(garbage));
      std::this_thread::yield();
    } while (!is_over);
  });
  std::atomic<int> wrong{0};
  group.run([&wrong](tensor::communicator& member) {
    for (std::uint64_t n = 0; n < 50; ++n) {
      wrong += reduces(member, n, 30) ? 0 : 1;
    }
  });
  is_over = true;
  haunting.join();
  BOOST_CHECK(of_late == errc::aborted);
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(a_member_of_an_older_epoch_learns_that_it_is_over) {
  test_group group({.size = 2});
  group.start_all(epoch(1));
  errc of_survivor{};
  std::thread survivor([&] { of_survivor = error_of(group[0].barrier()); });
  const auto successor = group.join(1);
  BOOST_REQUIRE(successor->start_epoch(epoch(2))); // no fence: the flag itself says so
  survivor.join();
  BOOST_CHECK(of_survivor == errc::aborted);
  BOOST_CHECK(error_of(group[1].barrier()) == errc::aborted);
}

BOOST_AUTO_TEST_CASE(refuses_shapes_that_do_not_fit) {
  const frame::wait_policy waits({}, group_clock);
  test_region region(tensor::exchange_bytes(2, 64));
  const auto make = [&](std::int32_t rank, std::int32_t size, std::size_t floats) {
    auto made = tensor::make_shared_communicator(
        region.span(), {.rank = rank, .size = size, .slot_floats = floats}, waits);
    return made ? errc::ok : made.error().code;
  };
  BOOST_CHECK(make(0, 2, 64) == errc::ok);
  BOOST_CHECK(make(1, 2, 64) == errc::ok);
  BOOST_CHECK(make(1, 2, 32) == errc::invalid_argument); // not what rank 0 said
  BOOST_CHECK(make(0, 3, 64) == errc::invalid_argument);
  BOOST_CHECK(make(2, 2, 64) == errc::invalid_argument);
  BOOST_CHECK(make(0, 2, 0) == errc::invalid_argument);
  BOOST_CHECK(make(0, 2, 1) == errc::invalid_argument); // less than a float for each rank
}

BOOST_AUTO_TEST_CASE(finds_counts_that_do_not_fit_together) {
  test_group group({.size = 2});
  group.start_all(epoch(1));
  std::array<errc, 2> outcomes{};
  group.run([&outcomes](tensor::communicator& member) {
    const auto me = static_cast<std::size_t>(member.rank());
    // Rank 0 sends 3 bytes, rank 1 waits for 4.
    std::vector<std::byte> data(8);
    const std::vector<std::size_t> offsets{0, 4};
    const std::vector<std::size_t> sent{0, me == 0 ? 3U : 0U};
    const std::vector<std::size_t> received{me == 1 ? 4U : 0U, 0};
    std::vector<std::byte> out(8);
    outcomes[me] = error_of(member.all_to_all_v(data, {sent, offsets}, out, {received, offsets}));
  });
  BOOST_CHECK(outcomes[0] == errc::ok);
  BOOST_CHECK(outcomes[1] == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(a_message_of_another_size_is_found) {
  test_group group({.size = 2});
  group.start_all(epoch(1));
  std::vector<std::byte> data(8);
  BOOST_REQUIRE(group[0].send(data, 1));
  BOOST_CHECK(error_of(group[1].recv(std::span(data).first(7), 0)) == errc::corrupt);
  BOOST_CHECK(error_of(group[1].barrier()) == errc::aborted); // out of step
}

BOOST_AUTO_TEST_CASE(a_sender_is_so_far_ahead_and_no_further) {
  test_group group({.size = 2, .slot_floats = 16, .timeout = 5ms});
  group.start_all(epoch(1));
  std::vector<std::byte> data(8);
  for (std::uint32_t i = 0; i < tensor::mail_slots; ++i) {
    BOOST_REQUIRE(group[0].send(data, 1));
  }
  const auto outcome = group[0].send(data, 1);
  BOOST_CHECK(error_of(outcome) == errc::timed_out);
  BOOST_TEST(outcome.error().context
             == "send: rank 1 is late (epoch=1 bytes=8 its_epoch=1 its_sequence=0)");
}

BOOST_AUTO_TEST_SUITE_END()
