// tests/kernels/cuda/device_group_cases.hpp — what every group of GPUs keeps, on whatever devices its ranks are.
#pragma once

#include "tests/kernels/cuda/device_group_fixture.hpp"

namespace vdist::kernels::testing {

using devices = std::vector<std::int32_t>;

/// Every size class and its edges, C-2.
inline void sums_have_the_bits_of_the_tree(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  ranks.start_epoch(1);
  for (const std::size_t count : {1U,
                                  3U,
                                  4U,
                                  5U,
                                  127U,
                                  1024U,
                                  8192U,
                                  10923U,
                                  32768U,
                                  32769U,
                                  100003U,
                                  131072U,
                                  262147U,
                                  1500001U}) {
    check_sum(ranks, count, 0);
  }
  check_sum(ranks, 1021, 1);
  check_sum(ranks, 70001, 3);
}

inline void sums_are_added_to_something_else(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  for (const std::size_t count : {1U, 5U, 4096U, 70001U, 400000U}) {
    const auto values = rank_values(ranks.size(), count, 31);
    const auto before = rank_values(ranks.size(), count, 32);
    const auto sums = tree_sums(values);
    std::vector<std::unique_ptr<device_array<float>>> data;
    std::vector<std::unique_ptr<device_array<float>>> onto;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      data.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, values[r]));
      onto.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, before[r]));
    }
    ranks.run([&](rank_threads::rank& mine, std::size_t r) {
      mine.group->all_reduce({.data = data[r]->data(),
                              .count = static_cast<std::int64_t>(count),
                              .onto = onto[r]->data()});
    });
    ranks.check_no_fault();
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      auto want = before[r];
      for (std::size_t i = 0; i < count; ++i) {
        want[i] += sums[i];
      }
      BOOST_TEST(have_equal_bits(onto[r]->read(), want), "count " << count);
    }
  }
}

/// A bfloat16 sum is that of floats, rounded once.
inline void bfloat16_sums_are_rounded_once(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  ranks.start_epoch(1);
  for (const std::size_t count : {2U, 6U, 4096U, 70002U, 400000U}) {
    const auto values = rank_values(ranks.size(), count, 77);
    std::vector<std::unique_ptr<device_elements>> data;
    std::vector<std::vector<float>> stored;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      data.push_back(
          std::make_unique<device_elements>(*ranks.at(r).ops, dtype::bfloat16, values[r]));
      stored.push_back(data.back()->values());
    }
    ranks.run([&](rank_threads::rank& mine, std::size_t r) {
      mine.group->all_reduce({.data = data[r]->at().data,
                              .count = static_cast<std::int64_t>(count),
                              .type = dtype::bfloat16});
    });
    ranks.check_no_fault();
    auto want = tree_sums(stored);
    for (float& value : want) {
      value = rounded_to(dtype::bfloat16, value);
    }
    for (const auto& mine : data) {
      BOOST_TEST(have_equal_bits(mine->read(), want), "count " << count);
    }
  }
}

inline void gathers_and_broadcasts(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  ranks.start_epoch(1);
  for (const std::size_t count : {1U, 5U, 1000U, 50001U, 1000000U}) {
    const auto values = rank_values(ranks.size(), count, 5);
    std::vector<std::unique_ptr<device_array<float>>> in;
    std::vector<std::unique_ptr<device_array<float>>> out;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      in.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, values[r]));
      out.push_back(std::make_unique<device_array<float>>(
          *ranks.at(r).ops, std::vector<float>(count * ranks.size())));
    }
    const auto bytes = static_cast<std::int64_t>(count * sizeof(float));
    const auto root = static_cast<std::int32_t>(count % ranks.size());
    ranks.run([&](rank_threads::rank& mine, std::size_t r) {
      mine.group->all_gather({.in = in[r]->data(), .out = out[r]->data(), .bytes = bytes});
      mine.group->barrier();
      mine.group->broadcast({.data = in[r]->data(), .bytes = bytes, .root = root});
    });
    ranks.check_no_fault();
    std::vector<float> whole;
    for (const auto& part : values) {
      whole.insert(whole.end(), part.begin(), part.end());
    }
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      BOOST_TEST(have_equal_bits(out[r]->read(), whole), "count " << count);
      BOOST_TEST(have_equal_bits(in[r]->read(), values[static_cast<std::size_t>(root)]));
    }
  }
}

/// Row i of the result = row i of every rank's, in rank order; behind it nothing is written.
inline void
check_gather(rank_threads& ranks, std::size_t rows, std::size_t part, std::size_t offset) {
  constexpr std::size_t guard = 9;
  const auto values = rank_values(
      ranks.size(), offset + rows * part, static_cast<std::uint32_t>(rows * 1000 + part));
  std::vector<std::unique_ptr<device_array<float>>> in;
  std::vector<std::unique_ptr<device_array<float>>> out;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    in.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, values[r]));
    out.push_back(std::make_unique<device_array<float>>(
        *ranks.at(r).ops, std::vector<float>(offset + rows * part * ranks.size() + guard)));
  }
  ranks.run([&](rank_threads::rank& mine, std::size_t r) {
    mine.group->all_gather({.in = in[r]->data() + offset,
                            .out = out[r]->data() + offset,
                            .bytes = static_cast<std::int64_t>(rows * part * sizeof(float)),
                            .rows = static_cast<std::int64_t>(rows)});
  });
  ranks.check_no_fault();
  std::vector<float> want(offset);
  for (std::size_t row = 0; row < rows; ++row) {
    for (const auto& given : values) {
      const auto begin = given.begin() + static_cast<std::ptrdiff_t>(offset + row * part);
      want.insert(want.end(), begin, begin + static_cast<std::ptrdiff_t>(part));
    }
  }
  want.resize(want.size() + guard);
  for (const auto& mine : out) {
    BOOST_TEST(have_equal_bits(mine->read(), want),
               "rows " << rows << " part " << part << " offset " << offset);
  }
}

/// One row and many, parts of whole units and not, aligned and not, more than a slot of every lane.
inline void gathers_whole_rows(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  ranks.start_epoch(1);
  check_gather(ranks, 0, 0, 1);
  for (const std::size_t rows : {1U, 2U, 3U, 33U}) {
    for (const std::size_t part : {1U, 4U, 5U, 126U, 8192U, 12571U}) {
      check_gather(ranks, rows, part, 0);
    }
  }
  check_gather(ranks, 2, 1024, 1);
  check_gather(ranks, 3, 70001, 3);
  check_gather(ranks, 64, 32064, 0);
  check_gather(ranks, 5, 600002, 0);
  check_gather(ranks, 50000, 3, 0);
}

inline void a_pipe_delivers_in_order(const devices& on) {
  rank_threads ranks(on, pipe_layout());
  ranks.start_epoch(1);
  constexpr std::size_t count = 2'000'003; // several rounds of every lane
  constexpr int messages = 20;
  const auto values = rank_values(1, count, 3).front();
  const device_array<float> from(*ranks.at(0).ops, values);
  const device_array<float> to(*ranks.at(1).ops, std::vector<float>(count));
  // Message m is the range behind m * 5 of a length of its own: what arrives last lies in the beginning of `to`.
  const auto length = [](int m) {
    return m == 0 ? count : std::size_t{1} + static_cast<std::size_t>(m) * 7001 % 50000;
  };
  ranks.run([&](rank_threads::rank& mine, std::size_t r) {
    for (int m = 0; m < messages; ++m) {
      const auto bytes = static_cast<std::int64_t>(length(m) * sizeof(float));
      if (r == 0) {
        mine.group->send({.data = from.data() + m * 5, .bytes = bytes});
      } else {
        mine.group->recv({.data = to.data(), .bytes = bytes});
      }
    }
  });
  ranks.check_no_fault();
  auto want = values;
  for (int m = 1; m < messages; ++m) {
    std::copy_n(values.begin() + m * 5, length(m), want.begin());
  }
  BOOST_TEST(have_equal_bits(to.read(), want));
}

/// Fresh inputs, then a chain of sums of prefixes that is recorded into a graph; each adds the results of the one before.
class recorded_chain {
public:
  static constexpr std::size_t count = 40000;
  static constexpr std::uint64_t key = 7;

  explicit recorded_chain(rank_threads& ranks)
      : ranks_(ranks), values_(rank_values(ranks.size(), count, 11)) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      auto& queue = ranks.at(r).ops->queue();
      queue.use_on_this_thread();
      data_.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, values_[r]));
      fresh_.push_back(static_cast<float*>(queue.allocate_staging(count * sizeof(float))));
      results_.push_back(static_cast<float*>(queue.allocate_staging(count * sizeof(float))));
      std::copy(values_[r].begin(), values_[r].end(), fresh_[r]);
    }
  }

  ~recorded_chain() {
    for (std::size_t r = 0; r < data_.size(); ++r) {
      ranks_.at(r).ops->queue().release_staging(fresh_[r]);
      ranks_.at(r).ops->queue().release_staging(results_[r]);
    }
  }

  recorded_chain(const recorded_chain&) = delete;
  recorded_chain& operator=(const recorded_chain&) = delete;

  /// Enqueues one replay on rank r's thread.
  void replay(rank_threads::rank& mine, std::size_t r) {
    auto& queue = mine.ops->queue();
    queue.copy_in(data_[r]->data(), fresh_[r], count * sizeof(float));
    queue.run(key, [&] {
      for (const auto size : sizes) {
        mine.group->all_reduce(
            {.data = data_[r]->data(), .count = static_cast<std::int64_t>(size)});
      }
    });
    queue.copy_out(results_[r], data_[r]->data(), count * sizeof(float));
  }

  [[nodiscard]] bool is_right(std::size_t r) const {
    return std::memcmp(results_[r], wanted_[r].data(), count * sizeof(float)) == 0;
  }

  /// What every replay gives. From the second sum on all ranks hold the same, and sums of 2, 4 or 8 of it are exact.
  void compute_wanted() {
    wanted_ = values_;
    for (const auto size : sizes) {
      const auto sums = tree_sums(wanted_);
      for (auto& values : wanted_) {
        std::copy_n(sums.begin(), size, values.begin());
      }
    }
  }

private:
  static constexpr std::size_t sizes[] = {40000, 1,  4096,  40000, 20,    33000, 40000,
                                          8192,  3,  40000, 40000, 2048,  5,     10000,
                                          40000, 16, 39999, 4,     12000, 40000};

  rank_threads& ranks_;
  std::vector<std::vector<float>> values_;
  std::vector<std::vector<float>> wanted_;
  std::vector<std::unique_ptr<device_array<float>>> data_;
  std::vector<float*> fresh_;
  std::vector<float*> results_;
};

/// Replays on all ranks, each checked.
inline void check_replays(rank_threads& ranks, recorded_chain& chain, int replays) {
  std::vector<int> wrong(ranks.size(), 0);
  ranks.run([&](rank_threads::rank& mine, std::size_t r) {
    auto& queue = mine.ops->queue();
    for (int i = 0; i < replays; ++i) {
      chain.replay(mine, r);
      if (!queue.wait(queue.mark(), device_patience)) {
        return;
      }
      wrong[r] += chain.is_right(r) ? 0 : 1;
    }
  });
  ranks.check_no_fault();
  for (const int count : wrong) {
    BOOST_TEST(count == 0);
  }
}

/// P-4: 50 replays of 20 sums.
inline void a_thousand_recorded_sums_are_right(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  recorded_chain chain(ranks);
  chain.compute_wanted();
  ranks.start_epoch(1);
  check_replays(ranks, chain, 50);
}

/// C-3, C-4, P-4: a rank replays alone, is fenced, and the same graphs serve the next epochs.
inline void a_fenced_graph_serves_the_next_epoch(const devices& on) {
  rank_threads ranks(on, group_layout(static_cast<std::int32_t>(on.size())));
  recorded_chain chain(ranks);
  chain.compute_wanted();
  std::uint32_t epoch = 1;
  ranks.start_epoch(epoch);
  check_replays(ranks, chain, 3);
  for (int round = 0; round < 9; ++round) { // every bank, and one of them again
    const auto alone = static_cast<std::size_t>(round) % ranks.size();
    std::chrono::steady_clock::time_point raised;
    std::thread breaker([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      raised = std::chrono::steady_clock::now();
      for (std::size_t r = 0; r < ranks.size(); ++r) {
        ranks.at(r).group->raise_fence(epoch + 1);
      }
    });
    ranks.run({alone}, [&](rank_threads::rank& mine, std::size_t r) {
      chain.replay(mine, r);
      chain.replay(mine, r);
    });
    const auto left = std::chrono::steady_clock::now();
    breaker.join();
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(left - raised);
    BOOST_TEST_MESSAGE("fence to idle: " << took.count() << " us");
    BOOST_TEST(took.count() < 200'000);
    BOOST_TEST((ranks.at(alone).group->fault().fault == group_fault::aborted));
    ranks.start_epoch(++epoch);
    check_replays(ranks, chain, 2);
  }
}

/// C-3: the deadline passes, and everybody names the rank.
inline void a_rank_that_never_comes_is_named(const devices& on) {
  const auto missing = on.size() - 1;
  rank_threads ranks(
      on, group_layout(static_cast<std::int32_t>(on.size())), std::chrono::milliseconds(300));
  recorded_chain chain(ranks);
  chain.compute_wanted();
  std::vector<std::size_t> who;
  for (std::size_t r = 0; r < missing; ++r) {
    who.push_back(r);
  }
  for (std::uint32_t epoch = 1; epoch <= 6; epoch += 2) {
    ranks.start_epoch(epoch);
    ranks.run(who, [&](rank_threads::rank& mine, std::size_t r) {
      chain.replay(mine, r);
      chain.replay(mine, r);
    });
    for (const auto r : who) {
      const auto fault = ranks.at(r).group->fault();
      BOOST_TEST((fault.fault == group_fault::late));
      BOOST_TEST((fault.operation == group_operation::all_reduce));
      BOOST_TEST(fault.peer == static_cast<std::int32_t>(missing));
      BOOST_TEST(fault.sequence == 1U);
      // P-5: it said so while it waited, and does not any more.
      const auto said = ranks.at(r).group->waiting();
      BOOST_TEST((said.operation == group_operation::all_reduce));
      BOOST_TEST(static_cast<std::size_t>(said.peer) == missing);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      BOOST_TEST(ranks.at(r).group->waiting().beat == said.beat);
    }
    // The missing rank records alone too, so that its graph is there; then all are in step again.
    ranks.run({missing}, [&](rank_threads::rank& mine, std::size_t r) {
      mine.group->raise_fence(epoch + 1);
      chain.replay(mine, r);
    });
    ranks.start_epoch(epoch + 1);
    check_replays(ranks, chain, 2);
  }
}

} // namespace vdist::kernels::testing
