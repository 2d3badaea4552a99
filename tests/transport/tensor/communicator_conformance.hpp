// tests/transport/tensor/communicator_conformance.hpp — what every communicator must do, whatever
// carries it: the rules T-1 to T-3 of transport/tensor/communicator.hpp as tests. A communicator's
// own test file describes how to make one (tested_family) and says
// VDIST_COMMUNICATOR_CONFORMANCE(suite name, family).
#pragma once

#include "tests/transport/tensor/checked_operations.hpp"

namespace vdist::testing {

struct tested_family {
  communicator_kind kind;
  rank_host host = rank_host::thread;
  std::vector<std::int32_t> sizes;
  int random_operations = 200;
  std::chrono::milliseconds impatience = 20ms; // of operations that are expected to time out

  void run(const group_shape& shape, const rank_body& body) const {
    BOOST_TEST_CONTEXT("size " << shape.size) {
      run_group(host, kind, shape, body);
    }
  }
};

/// Sizes around everything that has an edge.
inline std::vector<std::size_t> edge_sizes(const group_shape& shape) {
  const auto slot = shape.slot_floats;
  const auto one_shot = shape.one_shot_floats_max;
  return {
      0, 1, 3, 16, 17, one_shot, one_shot + 1, slot - 1, slot, slot + 1, 2 * slot, 5 * slot + 7};
}

/// T-2, and every other result, at sizes 0, 1, odd, slot size and around it, many slots.
inline void check_results(const tested_family& family) {
  for (const auto size : family.sizes) {
    family.run({.size = size}, [](test_rank& rank) {
      const auto group = rank.join();
      rank.expect(group->start_epoch(epoch(1)), "start_epoch");
      const checked_operations run(rank, *group);
      std::uint64_t n = 0;
      for (const std::size_t floats : edge_sizes(rank.shape())) {
        run.all_reduce(++n, floats);
        run.reduce_scatter(++n, floats);
        for (const std::size_t rows : {1U, 2U, 3U}) { // also rows that begin within a slot
          run.all_gather(++n, rows, floats);
        }
        run.all_to_all(++n, floats * sizeof(float) / 2);
        const auto root = static_cast<std::int32_t>(n) % rank.size();
        run.broadcast(++n, floats * sizeof(float) + 1, root);
        run.barrier();
      }
      run.all_gather(++n, 0, 0);
      run.all_gather(++n, 301, 7); // many rows of one slot
      run.all_gather(++n, 40, 1);
    });
  }
}

/// Counts that differ for every pair: none at all, one heavy pair, everything.
inline void check_unequal_parts(const tested_family& family) {
  for (const auto size : family.sizes) {
    family.run({.size = size}, [](test_rank& rank) {
      const auto group = rank.join();
      rank.expect(group->start_epoch(epoch(1)), "start_epoch");
      const checked_operations run(rank, *group);
      const auto last = rank.size() - 1;
      run.all_to_all_v(1, [](auto, auto) { return std::size_t{0}; });
      run.all_to_all_v(2, [last](auto a, auto b) {
        return a == 0 && b == last ? std::size_t{9001} : std::size_t{0};
      });
      run.all_to_all_v(3,
                       [](auto a, auto b) { return static_cast<std::size_t>(a * 977 + b * 31); });
      run.all_to_all_v(4, [](auto a, auto b) {
        return a == b ? std::size_t{5000} : static_cast<std::size_t>(1024 * (b % 2));
      });
      run.barrier();
    });
  }
}

/// Point to point: bounded, ordered, both directions, beside collectives.
inline void check_messages(const tested_family& family) {
  for (const auto size : family.sizes) {
    if (size == 1) {
      continue;
    }
    family.run({.size = size}, [](test_rank& rank) {
      const auto group = rank.join();
      rank.expect(group->start_epoch(epoch(1)), "start_epoch");
      const checked_operations run(rank, *group);
      const auto next = (rank.rank() + 1) % rank.size();
      const auto previous = (rank.rank() + rank.size() - 1) % rank.size();
      for (std::uint64_t n = 0; n < 60; ++n) {
        const std::size_t bytes = n * n * 3; // up to some 20 chunks, also none
        if (rank.rank() == 0) {              // around the ring, so that nobody waits in a circle
          run.send(n, bytes, next);
          run.recv(n, bytes, previous);
        } else {
          run.recv(n, bytes, previous);
          run.send(n, bytes, next);
        }
        if (n % 20 == 0) {
          run.all_reduce(n, 10);
        }
      }
    });
  }
}

/// The same operations on all ranks, drawn from one seed.
inline void check_random_sequences(const tested_family& family) {
  const int operations = family.random_operations;
  for (const auto size : family.sizes) {
    family.run({.size = size}, [operations](test_rank& rank) {
      const auto group = rank.join();
      rank.expect(group->start_epoch(epoch(1)), "start_epoch");
      const checked_operations run(rank, *group);
      std::mt19937 random(20261124);
      const auto below = [&random](std::size_t bound) {
        return random() % bound;
      };
      const auto any_rank = [&] {
        return static_cast<std::int32_t>(below(static_cast<std::size_t>(rank.size())));
      };
      for (int i = 0; i < operations; ++i) {
        const auto n = static_cast<std::uint64_t>(i);
        const std::size_t length = below(4) == 0 ? below(1500) : below(40);
        const auto first = any_rank();
        const auto second = any_rank();
        const auto seed = random();
        switch (below(8)) {
        case 0:
          run.all_reduce(n, length);
          break;
        case 1:
          run.reduce_scatter(n, length);
          break;
        case 2:
          run.all_gather(n, seed % 5, length);
          break;
        case 3:
          run.all_to_all(n, length);
          break;
        case 4:
          run.all_to_all_v(n, [length, seed](auto a, auto b) {
            return (seed >> static_cast<unsigned>(a * 5 + b * 3) % 16U) % (length + 1);
          });
          break;
        case 5:
          run.broadcast(n, length, first);
          break;
        case 6:
          run.barrier();
          break;
        default:
          if (first != second && rank.rank() == first) {
            run.send(n, length, second);
          }
          if (first != second && rank.rank() == second) {
            run.recv(n, length, first);
          }
        }
      }
    });
  }
}

/// Within rounding of the sum in double: the tree has log2(size) levels.
inline void check_closeness(const tested_family& family) {
  for (const auto size : family.sizes) {
    family.run({.size = size}, [](test_rank& rank) {
      const auto group = rank.join();
      rank.expect(group->start_epoch(epoch(1)), "start_epoch");
      constexpr std::size_t floats = 300;
      auto data = contribution(rank.rank(), 1, floats);
      rank.expect(group->all_reduce_sum(data), "all_reduce_sum");
      std::vector<double> exact(floats);
      std::vector<double> magnitude(floats);
      for (std::int32_t r = 0; r < rank.size(); ++r) {
        const auto part = contribution(r, 1, floats);
        for (std::size_t i = 0; i < floats; ++i) {
          exact[i] += static_cast<double>(part[i]);
          magnitude[i] += std::abs(static_cast<double>(part[i]));
        }
      }
      for (std::size_t i = 0; i < floats; ++i) {
        const double off = std::abs(static_cast<double>(data[i]) - exact[i]);
        rank.expect(off <= 3 * magnitude[i] * 0x1p-24, "distance to the sum in double");
      }
    });
  }
}

/// An operation that rank 0 begins and cannot finish without the last rank.
struct lonely_operation {
  std::string_view name;
  std::size_t bytes;
  std::function<result<void>(tensor::communicator&)> run;
};

inline std::vector<lonely_operation> lonely_operations(std::int32_t size) {
  constexpr std::size_t floats = 40;
  constexpr std::size_t bytes = floats * sizeof(float);
  const auto ranks = static_cast<std::size_t>(size);
  const auto last = size - 1;
  return {
      {"all_reduce_sum",
       bytes,
       [](auto& group) {
         std::vector<float> data(floats);
         return group.all_reduce_sum(data);
       }},
      {"reduce_scatter_sum",
       bytes * ranks,
       [ranks](auto& group) {
         std::vector<float> out(floats);
         return group.reduce_scatter_sum(std::vector<float>(floats * ranks), out);
       }},
      {"all_gather",
       bytes * ranks,
       [ranks](auto& group) {
         std::vector<float> out(floats * ranks);
         return group.all_gather(std::vector<float>(floats), out, 2);
       }},
      {"all_to_all",
       bytes * ranks,
       [ranks](auto& group) {
         byte_list out(bytes * ranks);
         return group.all_to_all(byte_list(bytes * ranks), out);
       }},
      {"broadcast",
       bytes,
       [last](auto& group) {
         byte_list data(bytes);
         return group.broadcast(data, last);
       }},
      {"barrier",
       0,
       [](auto& group) {
         return group.barrier();
       }},
      {"send",
       100000,
       [last](auto& group) {
         return group.send(byte_list(100000), last);
       }},
      {"recv",
       bytes,
       [last](auto& group) {
         byte_list data(bytes);
         return group.recv(data, last);
       }},
  };
}

/// Every wait ends at its deadline, and the error says what was late; the next epoch works.
inline void check_deadlines(const tested_family& family) {
  family.run({.size = 2, .timeout = family.impatience}, [](test_rank& rank) {
    const auto group = rank.join();
    auto& given_up = rank.board().counters[0]; // epochs in which rank 0 has given up
    std::uint32_t now = 0;
    for (const auto& operation : lonely_operations(rank.size())) {
      const std::string name(operation.name);
      rank.expect(group->start_epoch(epoch(++now)), "start_epoch");
      if (rank.rank() == 1) { // stays away
        rank.expect(comes_true([&] { return given_up >= now; }), "rank 0 gives up");
        continue;
      }
      const auto outcome = operation.run(*group);
      rank.expect_error(outcome, errc::timed_out, name);
      const auto wanted = name + ": rank 1 is late (epoch=" + std::to_string(now)
                          + " bytes=" + std::to_string(operation.bytes);
      const auto text = outcome ? "no error" : outcome.error().context;
      rank.expect(text.starts_with(wanted), text);
      rank.expect_error(group->barrier(), errc::aborted, "out of step after " + name);
      ++given_up;
    }
  });
}

/// A raised fence frees whoever waits, at once; the group works in the next epoch.
inline void check_fence(const tested_family& family) {
  constexpr std::int32_t size = 3;
  family.run({.size = size}, [](test_rank& rank) {
    const auto group = rank.join();
    std::uint32_t now = 0;
    for (const auto& operation : lonely_operations(size)) {
      const std::string name(operation.name);
      auto& waiting = rank.board().counters[0];
      rank.expect(group->start_epoch(epoch(++now)), "start_epoch");
      checked_operations(rank, *group).all_reduce(now, 30); // nothing of the past is in it (T-3)
      if (rank.rank() == size - 1) {
        rank.expect(comes_true([&] { return waiting >= now * (size - 1); }), "the others wait");
        rank.board().stop.raise(epoch(now + 1));
      } else if (rank.rank() == 0 || (name != "send" && name != "recv")) {
        ++waiting;
        const auto start = group_clock.now();
        rank.expect_error(operation.run(*group), errc::aborted, name);
        rank.expect(group_clock.now() - start < 5s, "a fence is no deadline");
        rank.expect_error(group->barrier(), errc::aborted, "out of step after " + name);
      } else {
        ++waiting;
        rank.expect(comes_true([&] { return rank.board().stop.is_raised_above(epoch(now)); }),
                    "the fence is raised");
      }
    }
  });
}

/// Epochs begin again and again; places are claimed once per epoch.
inline void check_epochs(const tested_family& family) {
  for (const auto size : family.sizes) {
    family.run({.size = size}, [size](test_rank& rank) {
      const auto group = rank.join();
      rank.expect_error(group->barrier(), errc::aborted, "no epoch yet");
      rank.expect_error(group->start_epoch(epoch(0)), errc::invalid_argument, "epoch 0");
      for (const std::uint32_t now : {1U, 2U, 5U, 13U, 14U}) { // 5 and 13 share a bank
        rank.expect(group->start_epoch(epoch(now)), "start_epoch");
        rank.expect_error(group->start_epoch(epoch(now)), errc::stale, "the same epoch again");
        rank.expect_error(group->start_epoch(epoch(now - 1)),
                          now == 1 ? errc::invalid_argument : errc::stale,
                          "an older epoch");
        const checked_operations run(rank, *group);
        run.all_reduce(now, 30);
        run.all_gather(now, 3, 100);
        run.barrier();
        // An epoch ends for everybody as soon as one begins the next: nobody may still be in it.
        auto& done = rank.board().counters[now];
        ++done;
        const auto everybody = static_cast<std::uint32_t>(size);
        rank.expect(comes_true([&] { return done == everybody; }), "all are done with the epoch");
      }
    });
  }
}

/// A peer that has begun the next epoch ends the wait for it, also without a fence.
inline void check_peers_that_go_on(const tested_family& family) {
  family.run({.size = 2}, [](test_rank& rank) {
    const auto group = rank.join();
    const checked_operations run(rank, *group);
    auto& waiting = rank.board().counters[0];
    for (std::uint32_t now = 1; now < 6; now += 2) {
      rank.expect(group->start_epoch(epoch(now)), "start_epoch");
      run.all_reduce(now, 30);
      if (rank.rank() == 0) {
        ++waiting;
        const auto start = group_clock.now();
        rank.expect_error(group->barrier(), errc::aborted, "barrier");
        rank.expect(group_clock.now() - start < 5s, "the end of an epoch is no deadline");
      } else {
        rank.expect(comes_true([&] { return waiting * 2 > now; }), "rank 0 waits");
      }
      rank.expect(group->start_epoch(epoch(now + 1)), "start_epoch");
      run.all_reduce(now, 30);
      auto& done = rank.board().counters[now];
      ++done;
      rank.expect(comes_true([&] { return done == 2; }), "both are done with the epoch");
    }
  });
}

/// Illegal arguments are refused before anything moves: the group stays in step.
inline void check_arguments(const tested_family& family) {
  family.run({.size = 2}, [](test_rank& rank) {
    const auto group = rank.join();
    rank.expect(group->start_epoch(epoch(1)), "start_epoch");
    const auto refused = [&rank](const result<void>& outcome, std::string_view what) {
      rank.expect_error(outcome, errc::invalid_argument, what);
    };
    std::vector<float> three(3), four(4), six(6);
    byte_list bytes(8), odd(7);
    refused(group->all_gather(three, four, 1), "all_gather");
    refused(group->all_gather(three, six, 2), "all_gather of a row and a half");
    refused(group->all_gather(three, six, 0), "all_gather of no rows");
    refused(group->reduce_scatter_sum(three, four), "reduce_scatter_sum");
    refused(group->all_to_all(odd, odd), "all_to_all with unequal parts");
    refused(group->all_to_all(bytes, odd), "all_to_all with unequal buffers");
    refused(group->broadcast(bytes, 2), "broadcast, root 2");
    refused(group->broadcast(bytes, -1), "broadcast, root -1");
    refused(group->send(bytes, rank.rank()), "send to itself");
    refused(group->recv(bytes, 2), "recv from rank 2");
    const std::vector<std::size_t> counts{4, 4}, offsets{0, 4}, beyond{0, 5}, huge{~0UL, 4}, one{8};
    refused(group->all_to_all_v(bytes, {counts, beyond}, bytes, {counts, offsets}), "beyond in");
    refused(group->all_to_all_v(bytes, {counts, offsets}, bytes, {counts, huge}), "beyond out");
    refused(group->all_to_all_v(bytes, {huge, offsets}, bytes, {huge, offsets}), "huge count");
    refused(group->all_to_all_v(bytes, {one, offsets}, bytes, {counts, offsets}), "one count");
    std::vector<std::size_t> less = counts;
    less[static_cast<std::size_t>(rank.rank())] = 3;
    refused(group->all_to_all_v(bytes, {less, offsets}, bytes, {counts, offsets}), "to itself");
    checked_operations(rank, *group).all_reduce(1, 30);
  });
}

} // namespace vdist::testing

#define VDIST_COMMUNICATOR_CONFORMANCE(suite, family)                                              \
  BOOST_AUTO_TEST_SUITE(suite)                                                                     \
  BOOST_AUTO_TEST_CASE(gives_the_promised_bits_at_every_size) {                                    \
    ::vdist::testing::check_results(family);                                                       \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(exchanges_parts_of_any_size) {                                              \
    ::vdist::testing::check_unequal_parts(family);                                                 \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(delivers_messages_between_two_ranks_in_order) {                             \
    ::vdist::testing::check_messages(family);                                                      \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(every_operation_mixes_with_every_other) {                                   \
    ::vdist::testing::check_random_sequences(family);                                              \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(is_close_to_the_sum_in_double) {                                            \
    ::vdist::testing::check_closeness(family);                                                     \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(every_wait_ends_at_its_deadline_and_names_who_is_late) {                    \
    ::vdist::testing::check_deadlines(family);                                                     \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(a_raised_fence_ends_every_wait_at_once) {                                   \
    ::vdist::testing::check_fence(family);                                                         \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(epochs_begin_anew_again_and_again) {                                        \
    ::vdist::testing::check_epochs(family);                                                        \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(a_peer_that_goes_on_ends_the_epoch_for_the_others) {                        \
    ::vdist::testing::check_peers_that_go_on(family);                                              \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(refuses_illegal_arguments_and_stays_in_step) {                              \
    ::vdist::testing::check_arguments(family);                                                     \
  }                                                                                                \
  BOOST_AUTO_TEST_SUITE_END()
