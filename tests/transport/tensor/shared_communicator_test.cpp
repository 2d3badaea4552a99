#include "transport/tensor/shared_communicator.hpp"

#include "tests/transport/tensor/group_fixture.hpp"

#include <atomic>

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(shared_communicator_suite)

namespace {

constexpr std::int32_t sizes[] = {1, 2, 3, 4, 5, 8};

errc error_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

/// One all-reduce of this rank's contribution; whether the sum has exactly the promised bits.
bool reduces(tensor::communicator& member, std::uint64_t n, std::size_t floats) {
  auto data = contribution(member.rank(), n, floats);
  return member.all_reduce_sum(data) && has_same_bits(data, expected_sum(member.size(), n, floats));
}

} // namespace

BOOST_AUTO_TEST_CASE(sums_with_the_same_bits_at_every_size) { // T-2: one-shot, two-shot, chunks
  for (const auto size : sizes) {
    test_group group({.size = size});
    group.start_all(epoch(1));
    std::atomic<int> wrong{0};
    group.run([&wrong](tensor::communicator& member) {
      std::uint64_t n = 0;
      for (const std::size_t floats : {0, 1, 3, 16, 99, 100, 101, 255, 256, 257, 1000, 5000}) {
        wrong += reduces(member, n++, floats) ? 0 : 1;
      }
    });
    BOOST_TEST(wrong == 0, "size " << size);
  }
}

BOOST_AUTO_TEST_CASE(every_operation_mixes_with_every_other) {
  for (const auto size : sizes) {
    test_group group({.size = size});
    group.start_all(epoch(1));
    std::atomic<int> wrong{0};
    group.run([&wrong, size](tensor::communicator& member) {
      for (std::uint64_t n = 0; n < 60; ++n) {
        const std::size_t floats = n * 37 % 600;
        wrong += reduces(member, n, floats) ? 0 : 1;
        const auto part = contribution(member.rank(), n, floats);
        std::vector<float> all(floats * static_cast<std::size_t>(size));
        wrong += member.all_gather(part, all) ? 0 : 1;
        for (std::int32_t r = 0; r < size; ++r) {
          const auto from = std::span(all).subspan(static_cast<std::size_t>(r) * floats, floats);
          wrong += has_same_bits(from, contribution(r, n, floats)) ? 0 : 1;
        }
        const auto root = static_cast<std::int32_t>(n) % size;
        const auto wanted = contribution(root, n, floats);
        auto data = member.rank() == root ? wanted : std::vector<float>(floats);
        wrong += member.broadcast(std::as_writable_bytes(std::span(data)), root) ? 0 : 1;
        wrong += has_same_bits(data, wanted) ? 0 : 1;
        wrong += member.barrier() ? 0 : 1;
      }
    });
    BOOST_TEST(wrong == 0, "size " << size);
  }
}

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

BOOST_AUTO_TEST_CASE(a_raised_fence_frees_the_waiting_ranks_at_once) {
  test_group group({.size = 4});
  group.start_all(epoch(1));
  std::atomic<int> waiting{0};
  std::atomic<int> aborted{0};
  const auto start = group_clock.now();
  std::thread recovery([&] {
    while (waiting < 3) {
      std::this_thread::yield();
    }
    group.stop.raise(epoch(2));
  });
  group.run(
      [&](tensor::communicator& member) {
        std::vector<float> data(50, 1.0F);
        ++waiting;
        aborted += error_of(member.all_reduce_sum(data)) == errc::aborted ? 1 : 0;
        // Out of step until the next epoch.
        aborted += error_of(member.barrier()) == errc::aborted ? 1 : 0;
      },
      2);
  recovery.join();
  BOOST_TEST(aborted == 6);
  BOOST_CHECK(group_clock.now() - start < 5s);
}

BOOST_AUTO_TEST_CASE(names_the_rank_that_is_late) {
  test_group group({.size = 3, .timeout = 5ms});
  group.start_all(epoch(7));
  std::string text;
  group.run(
      [&text](tensor::communicator& member) {
        std::vector<float> data(10, 1.0F);
        const auto outcome = member.all_reduce_sum(data);
        if (member.rank() == 0) {
          text = outcome ? "" : outcome.error().context;
        }
      },
      1);
  BOOST_TEST(text
             == "all_reduce_sum: rank 1 is late (epoch=7 bytes=40 its_epoch=7 its_sequence=0)");
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
  test_group group({.size = 2});
  std::vector<float> data(3);
  BOOST_CHECK(error_of(group[0].barrier()) == errc::aborted); // no epoch yet
  BOOST_CHECK(error_of(group[0].start_epoch(epoch(0))) == errc::invalid_argument);
  group.start_all(epoch(1));
  BOOST_CHECK(error_of(group[0].all_gather(data, data)) == errc::invalid_argument);
  BOOST_CHECK(error_of(group[0].broadcast({}, 2)) == errc::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
