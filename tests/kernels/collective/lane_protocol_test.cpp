// The protocol's promises P-1 to P-4 on host threads, with delays, failures and recoveries.
#include "tests/kernels/collective/host_lanes.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr exchange_layout small_layout(std::int32_t ranks) {
  return {.ranks = ranks, .word_units = 5, .bulk_units = 7};
}

std::vector<int> all_ranks(int count) {
  std::vector<int> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// Differs between ranks, calls and places, and does not add without rounding.
float value_of(int rank, int call, std::size_t at) {
  std::minstd_rand random(static_cast<std::uint32_t>(1 + rank * 7919 + call * 104729)
                          + static_cast<std::uint32_t>(at) * 31);
  random.discard(2);
  return std::ldexp(static_cast<float>(random()) - 1e9F, static_cast<int>(random() % 40) - 50);
}

/// T-2 written as its definition: x[a] for one, else the largest power of two below n to the left.
float tree(const std::vector<float>& x, std::size_t first, std::size_t count) {
  if (count == 1) {
    return x[first];
  }
  const auto left = std::bit_floor(count - 1);
  return tree(x, first, left) + tree(x, first + left, count - left);
}

cell expected_sum(int ranks, int call, std::size_t at) {
  std::vector<float> parts;
  for (int r = 0; r < ranks; ++r) {
    parts.push_back(value_of(r, call, at));
  }
  return std::bit_cast<cell>(tree(parts, 0, parts.size()));
}

/// Sizes in cells: one, a part of a unit, about a slot, several rounds; not the same from call to call.
constexpr std::array<std::size_t, 9> sizes{1, 3, 4, 41, 2, 160, 17, 333, 64};

std::size_t size_of_call(int call) {
  return sizes[static_cast<std::size_t>(call) % sizes.size()];
}

int lanes_of_call(int call) {
  return 1 + call % 2;
}

/// Inputs of a run: [rank][call][cell].
template <int Ranks>
std::vector<std::vector<std::vector<cell>>> inputs(int calls) {
  std::vector<std::vector<std::vector<cell>>> out(Ranks);
  for (int r = 0; r < Ranks; ++r) {
    for (int call = 0; call < calls; ++call) {
      auto& cells = out[static_cast<std::size_t>(r)].emplace_back(size_of_call(call));
      for (std::size_t i = 0; i < cells.size(); ++i) {
        cells[i] = std::bit_cast<cell>(value_of(r, call, i));
      }
    }
  }
  return out;
}

template <class Lane, class Target>
bool sum_by(int path, Lane& at, const message<cell>& data, const Target& target) {
  return path % 3 == 0   ? at.template sum_by_words<float_cell>(data, target)
         : path % 3 == 1 ? at.template sum_in_one<float_cell>(data, target)
                         : at.template sum_in_two<float_cell>(data, target);
}

template <class Lane>
bool sum_by(int path, Lane& at, const message<cell>& data) {
  return sum_by(path, at, data, data);
}

template <int Ranks>
void check_sums(host_group<Ranks>& group, int calls, int first_path) {
  auto data = inputs<Ranks>(calls);
  group.run(all_ranks(Ranks), calls, lanes_of_call, [&](auto& at, int r, int call) {
    auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
    return sum_by(first_path + call / 5, at, message<cell>(cells.data(), cells.size()));
  });
  std::size_t wrong = 0;
  for (int r = 0; r < Ranks; ++r) {
    BOOST_TEST((group.fault(r).fault == group_fault::none));
    for (int call = 0; call < calls; ++call) {
      const auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
      for (std::size_t i = 0; i < cells.size(); ++i) {
        wrong += cells[i] == expected_sum(Ranks, call, i) ? 0U : 1U;
      }
    }
  }
  BOOST_TEST(wrong == 0U);
}

} // namespace

BOOST_AUTO_TEST_SUITE(lane_protocol)

BOOST_AUTO_TEST_CASE(tree_sum_adds_neighbours_in_rank_order) { // T-2
  const float x[8] = {1e8F, 1.0F, -1e8F, 3.0F, 7e7F, -5.0F, 2.5F, 1e-3F};
  BOOST_TEST((tree_sum<0, 2>(x) == x[0] + x[1]));
  BOOST_TEST((tree_sum<0, 3>(x) == (x[0] + x[1]) + x[2]));
  BOOST_TEST((tree_sum<0, 4>(x) == (x[0] + x[1]) + (x[2] + x[3])));
  BOOST_TEST(
      (tree_sum<0, 8>(x) == ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))));
}

BOOST_AUTO_TEST_CASE(sums_may_be_added_to_something_else) {
  constexpr int calls = 60;
  host_group<2> group({.ranks = 2, .word_units = 5, .bulk_units = 7}, {});
  auto data = inputs<2>(calls);
  auto onto = inputs<2>(calls);
  group.run(all_ranks(2), calls, lanes_of_call, [&](auto& at, int r, int call) {
    auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
    auto& sums = onto[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
    const message<cell> own(cells.data(), cells.size());
    return sum_by(call / 3, at, own, sum_target(own, sums.data(), cells.size()));
  });
  for (int r = 0; r < 2; ++r) {
    for (int call = 0; call < calls; ++call) {
      const auto& sums = onto[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const float want = value_of(r, call, i) + std::bit_cast<float>(expected_sum(2, call, i));
        BOOST_REQUIRE(sums[i] == std::bit_cast<cell>(want));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(bfloat16_sums_are_rounded_once_to_nearest_even) {
  const auto bits = [](float f) {
    return std::bit_cast<std::uint32_t>(f) >> 16U;
  };
  const cell x[2] = {bits(1.0F) | bits(256.0F) << 16U, bits(0x1p-9F) | bits(1.0F) << 16U};
  const cell sum = bfloat16_cell::sum(x);
  BOOST_TEST((sum & 0xffffU) == bits(1.0F)); // below half a step
  BOOST_TEST((sum >> 16U) == bits(256.0F));  // 257 is a tie, 256 is even
  const cell nan[2] = {0x7fc1U, 0x3f80U};
  BOOST_TEST((bfloat16_cell::sum(nan) & 0x7f80U) == 0x7f80U);
  BOOST_TEST((bfloat16_cell::sum(nan) & 0x7fU) != 0U);
}

BOOST_AUTO_TEST_CASE(two_ranks_add_whatever_the_path_and_the_size) { // P-1
  for (int path = 0; path < 3; ++path) {
    host_group<2> group(small_layout(2), {});
    group.start_epoch(1);
    check_sums(group, 60, path);
  }
}

BOOST_AUTO_TEST_CASE(four_ranks_add_whatever_the_path_and_the_size) { // P-1
  for (int path = 0; path < 3; ++path) {
    host_group<4> group(small_layout(4), {.threads = 1});
    group.start_epoch(3);
    check_sums(group, 45, path);
  }
}

BOOST_AUTO_TEST_CASE(eight_ranks_add_whatever_the_path_and_the_size) { // P-1
  host_group<8> group(small_layout(8), {.threads = 1});
  group.start_epoch(2);
  check_sums(group, 30, 0);
}

BOOST_AUTO_TEST_CASE(gathers_and_broadcasts_of_any_size) {
  constexpr int calls = 40;
  host_group<4> group(small_layout(4), {.threads = 1});
  group.start_epoch(1);
  const auto data = inputs<4>(calls);
  std::vector<std::vector<std::vector<cell>>> out(4);
  for (std::size_t r = 0; r < 4; ++r) {
    for (int call = 0; call < calls; ++call) {
      out[r].push_back(data[r][static_cast<std::size_t>(call)]);
      out[r].back().resize(4 * size_of_call(call));
    }
  }
  group.run(all_ranks(4), calls, lanes_of_call, [&](auto& at, int r, int call) {
    const auto& in = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
    auto& to = out[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
    return call % 2 == 0 ? at.gather(in.data(), to.data(), 1, in.size())
                         : at.broadcast(message<cell>(to.data(), in.size()), call % 4);
  });
  for (std::size_t r = 0; r < 4; ++r) {
    for (int call = 0; call < calls; ++call) {
      const auto c = static_cast<std::size_t>(call);
      std::vector<cell> want;
      if (call % 2 == 0) {
        for (const auto& rank : data) {
          want.insert(want.end(), rank[c].begin(), rank[c].end());
        }
      } else {
        want = data[c % 4][c];
        want.resize(out[r][c].size());
        out[r][c].resize(size_of_call(call));
        want.resize(size_of_call(call));
      }
      BOOST_TEST(out[r][c] == want);
    }
  }
}

/// Rows and cells of a row: aligned rows, rows that begin anywhere, many that fill a slot, one that fills several.
constexpr std::array<std::array<std::size_t, 2>, 10> gathers{
    {{1, 41}, {2, 8}, {3, 5}, {33, 1}, {0, 0}, {2, 64}, {7, 6}, {1, 160}, {3, 103}, {12, 4}}};

template <int Ranks>
void check_gathered_rows(std::size_t misaligned) {
  constexpr int calls = 40;
  constexpr cell untouched = 0xabcdef01U;
  host_group<Ranks> group(small_layout(Ranks), {.threads = Ranks == 2 ? 3U : 1U});
  group.start_epoch(1);
  const auto shape = [](int call) {
    return gathers[static_cast<std::size_t>(call) % gathers.size()];
  };
  const auto given = [&](int r, int call) {
    std::vector<cell> cells(misaligned + shape(call)[0] * shape(call)[1]);
    for (std::size_t i = misaligned; i < cells.size(); ++i) {
      cells[i] = std::bit_cast<cell>(value_of(r, call, i));
    }
    return cells;
  };
  std::vector<std::vector<std::vector<cell>>> in(Ranks);
  std::vector<std::vector<std::vector<cell>>> out(Ranks);
  for (int r = 0; r < Ranks; ++r) {
    const auto rank = static_cast<std::size_t>(r);
    for (int call = 0; call < calls; ++call) {
      in[rank].push_back(given(r, call));
      out[rank].emplace_back(misaligned + Ranks * shape(call)[0] * shape(call)[1] + 5, untouched);
    }
  }
  group.run(all_ranks(Ranks), calls, lanes_of_call, [&](auto& at, int r, int call) {
    const auto rank = static_cast<std::size_t>(r);
    const auto c = static_cast<std::size_t>(call);
    const auto [rows, part] = shape(call);
    return at.gather(in[rank][c].data() + misaligned, out[rank][c].data() + misaligned, rows, part);
  });
  for (int call = 0; call < calls; ++call) {
    const auto c = static_cast<std::size_t>(call);
    const auto [rows, part] = shape(call);
    std::vector<cell> want(misaligned, untouched);
    for (std::size_t row = 0; row < rows; ++row) {
      for (const auto& rank : in) {
        const auto begin = rank[c].begin() + static_cast<std::ptrdiff_t>(misaligned + row * part);
        want.insert(want.end(), begin, begin + static_cast<std::ptrdiff_t>(part));
      }
    }
    want.insert(want.end(), 5, untouched);
    for (int r = 0; r < Ranks; ++r) {
      BOOST_TEST((group.fault(r).fault == group_fault::none));
      BOOST_TEST((out[static_cast<std::size_t>(r)][c] == want),
                 "rank " << r << " rows " << rows << " part " << part);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_gather_puts_rows_of_all_ranks_together) {
  for (const std::size_t misaligned : {0U, 1U}) {
    check_gathered_rows<2>(misaligned);
    check_gathered_rows<4>(misaligned);
  }
}

BOOST_AUTO_TEST_CASE(a_pipe_delivers_messages_in_order) {
  constexpr int calls = 80;
  host_group<2> group({.ranks = 2, .word_units = 0, .bulk_units = 3}, {});
  group.start_epoch(1);
  const auto data = inputs<2>(calls);
  auto got = data[1];
  group.run({0, 1}, calls, lanes_of_call, [&](auto& at, int r, int call) {
    const auto c = static_cast<std::size_t>(call);
    return r == 0 ? at.send(message<const cell>(data[0][c].data(), data[0][c].size()), 1)
                  : at.recv(message<cell>(got[c].data(), got[c].size()), 0);
  });
  BOOST_TEST((got == data[0]));
}

BOOST_AUTO_TEST_CASE(a_rank_that_never_comes_is_named) { // P-3
  for (int path = 0; path < 3; ++path) {
    host_group<4> group(small_layout(4), {.threads = 1, .wait_ns = 50'000'000});
    group.start_epoch(1);
    auto data = inputs<4>(3);
    group.run(
        {0, 1, 3},
        3,
        [](int) { return 2; },
        [&](auto& at, int r, int call) {
          auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
          return sum_by(path, at, message<cell>(cells.data(), cells.size()));
        });
    for (const int r : {0, 1, 3}) {
      BOOST_TEST((group.fault(r).fault == group_fault::late));
      BOOST_TEST((group.fault(r).operation == group_operation::all_reduce));
      BOOST_TEST(group.fault(r).peer == 2);
      BOOST_TEST(group.fault(r).sequence == 1U);
    }
  }
}

BOOST_AUTO_TEST_CASE(p5_a_rank_that_waits_says_for_whom_as_long_as_it_does) {
  for (int path = 0; path < 3; ++path) {
    host_group<4> group(small_layout(4), {.threads = 1, .wait_ns = 20'000'000'000});
    group.start_epoch(1);
    auto data = inputs<4>(1);
    std::atomic<bool> is_over{false};
    std::vector<wait_record> said;
    std::thread listener([&] {
      while (!is_over && said.size() < 3) {
        const auto now = group.waiting(3);
        if (now.operation != group_operation::none
            && (said.empty() || said.back().beat != now.beat)) {
          said.push_back(now);
        }
        std::this_thread::yield();
      }
      for (const int r : {0, 2, 3}) {
        group.raise_fence(r, 2);
      }
    });
    group.run( // rank 1 never comes
        {0, 2, 3},
        1,
        [](int) { return 2; },
        [&](auto& at, int r, int call) {
          auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
          return sum_by(path, at, message<cell>(cells.data(), cells.size()));
        });
    is_over = true;
    listener.join();
    BOOST_REQUIRE(said.size() >= 3U);
    for (const auto& record : said) {
      BOOST_TEST((record.operation == group_operation::all_reduce));
      BOOST_TEST(static_cast<int>(record.peer) == 1);
      BOOST_TEST(record.sequence == 1U);
    }
    const auto last = group.waiting(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(3)); // three beats
    BOOST_TEST(group.waiting(3).beat == last.beat, "who does not wait is silent");
  }
}

BOOST_AUTO_TEST_CASE(p5_records_keep_what_they_are_made_of) {
  const wait_record made{
      .beat = 0xfedc, .operation = group_operation::recv, .peer = 7, .sequence = 0x89abcdef};
  const auto read = wait_record::unpack(made.packed());
  BOOST_TEST(read.beat == made.beat);
  BOOST_TEST((read.operation == made.operation));
  BOOST_TEST(static_cast<int>(read.peer) == 7);
  BOOST_TEST(read.sequence == made.sequence);
}

BOOST_AUTO_TEST_CASE(a_raised_fence_ends_the_epoch_and_the_next_one_works) { // P-3, P-4, T-3
  host_group<2> group(small_layout(2), {});
  for (std::uint32_t epoch = 1; epoch <= 20; ++epoch) { // every bank more than once
    group.start_epoch(epoch);
    auto data = inputs<2>(20);
    std::thread breaker([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(epoch % 4));
      group.raise_fence(0, epoch + 1);
      group.raise_fence(1, epoch + 1);
    });
    group.run({0}, 20, lanes_of_call, [&](auto& at, int r, int call) { // alone: it waits
      auto& cells = data[static_cast<std::size_t>(r)][static_cast<std::size_t>(call)];
      return sum_by(static_cast<int>(epoch) + call, at, message<cell>(cells.data(), cells.size()));
    });
    breaker.join();
    BOOST_TEST((group.fault(0).fault == group_fault::aborted));
    ++epoch;
    group.start_epoch(epoch);
    check_sums(group, 15, static_cast<int>(epoch));
  }
}

BOOST_AUTO_TEST_CASE(a_writer_of_a_past_epoch_disturbs_nobody) { // T-3
  host_group<2> group(small_layout(2), {});
  for (std::uint32_t epoch = 2; epoch <= exchange_banks;
       ++epoch) { // the next one has its bank again
    group.start_epoch(epoch);
    // A dead incarnation of rank 1 goes on writing epoch 1 into rank 0's region, with a state of its own.
    std::atomic<bool> is_over{false};
    std::thread zombie([&] {
      group_state state;
      state.epoch = 1;
      std::uint64_t report = 0;
      auto view = group.view(1);
      view.state = &state;
      view.report = &report;
      view.wait_ns = 1'000'000;
      host_block block(1);
      host_thread machine(block, 0, epoch, 0);
      std::vector<cell> cells(333, 0xffffffffU);
      for (int turn = 0; !is_over; ++turn) {
        state.fault = 0;
        state.lanes[0].words = state.lanes[0].bulk = static_cast<std::uint64_t>(turn);
        lane<host_thread, 2> at(machine, view, 0, 1, group_operation::all_reduce);
        (void)(at.begin() && sum_by(turn, at, message<cell>(cells.data(), cells.size())));
      }
    });
    check_sums(group, 20, static_cast<int>(epoch));
    is_over = true;
    zombie.join();
  }
}

BOOST_AUTO_TEST_CASE(tags_of_old_rounds_are_overwritten_before_they_repeat) { // P-2
  BOOST_TEST(tag_of(1, 5) != tag_of(9, 5));                                   // the same bank
  BOOST_TEST(tag_of(9, 0) != tag_of(1, 0));
  BOOST_TEST(tag_of(1, 0) != 0U);
  BOOST_TEST(tag_of(3, 7) == tag_of(3, 7 + (1U << tag_sequence_bits)));
  int refills[2] = {0, 0};
  for (std::uint32_t sequence = 1; sequence <= 4 * refill_rounds; ++sequence) {
    refills[sequence % 2] += is_refill(sequence) ? 1 : 0;
  }
  BOOST_TEST(refills[0] == 4);
  BOOST_TEST(refills[1] == 4);

  host_group<2> group(small_layout(2), {});
  group.start_epoch(4);
  const auto jump_to = [&](std::uint64_t exchanges) {
    for (int r = 0; r < 2; ++r) {
      for (auto& lane : group.rank(r).state.lanes) {
        lane = {.words = exchanges, .bulk = exchanges};
      }
    }
  };
  // Long messages leave their tags in the whole slot; the round before the wrap refills it, so short and long messages
  // behind the wrap never meet an old tag.
  check_sums(group, 15, 0);
  jump_to((std::uint64_t{1} << 20U) - refill_rounds - 2);
  check_sums(group, 15, 0);
  jump_to(std::uint64_t{1} << 20U);
  check_sums(group, 30, 0);
  // Sequences of flags wrap as well.
  for (int r = 0; r < 2; ++r) {
    std::fill(group.rank(r).region.begin(), group.rank(r).region.end(), unit{});
  }
  jump_to((std::uint64_t{1} << 32U) - 3);
  check_sums(group, 30, 1);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(exchange_layouts)

BOOST_AUTO_TEST_CASE(places_of_a_bank_do_not_overlap) {
  for (const std::int32_t ranks : {2, 4, 8}) {
    const exchange_layout layout{.ranks = ranks, .word_units = 3, .bulk_units = 5};
    std::vector<char> used(layout.bank_bytes());
    const auto take = [&](std::size_t at, std::size_t bytes) {
      BOOST_REQUIRE(at + bytes <= used.size());
      BOOST_TEST(at % 16 == 0U);
      for (std::size_t i = at; i < at + bytes; ++i) {
        BOOST_REQUIRE(used[i] == 0);
        used[i] = 1;
      }
    };
    for (std::int32_t lane = 0; lane < lanes_max; ++lane) {
      for (std::int32_t source = 0; source < ranks; ++source) {
        take(layout.flag_at(lane, source), flag_stride);
        for (const std::uint32_t half : {0U, 1U}) {
          if (lane < word_lanes_max) {
            take(layout.words_at(lane, half, source), layout.word_slot_bytes());
          }
          take(layout.bulk_at(lane, half, source), layout.bulk_slot_bytes());
        }
      }
    }
    BOOST_TEST(std::count(used.begin(), used.end(), 0) == 0);
    BOOST_TEST(layout.bank_at(3) == layout.bank_at(11));
    BOOST_TEST(layout.bank_at(7) + layout.bank_bytes() == layout.region_bytes());
  }
  BOOST_TEST(group_layout(2).region_bytes() >> 20U == 136U);
  BOOST_TEST(group_layout(4).region_bytes() >> 20U == 144U);
  BOOST_TEST(group_layout(8).region_bytes() >> 20U == 160U);
  BOOST_TEST(pipe_layout().region_bytes() >> 20U == 64U);
}

BOOST_AUTO_TEST_CASE(the_path_follows_from_size_and_ranks) {
  const auto kb = [](std::size_t n) {
    return n << 10U;
  };
  BOOST_TEST((choose_sum_path(4, 2) == sum_path::words));
  BOOST_TEST((choose_sum_path(kb(128), 2) == sum_path::words));
  BOOST_TEST((choose_sum_path(kb(128) + 4, 2) == sum_path::one_shot));
  BOOST_TEST(
      (choose_sum_path(kb(1) << 20U, 2) == sum_path::one_shot)); // the same bytes in one crossing
  BOOST_TEST((choose_sum_path(kb(42), 4) == sum_path::words));
  BOOST_TEST((choose_sum_path(kb(512), 4) == sum_path::one_shot));
  BOOST_TEST((choose_sum_path(kb(513), 4) == sum_path::two_shot));
  BOOST_TEST((choose_sum_path(kb(18), 8) == sum_path::words));
  BOOST_TEST((choose_sum_path(kb(146), 8) == sum_path::one_shot));
  BOOST_TEST((choose_sum_path(kb(147), 8) == sum_path::two_shot));
}

BOOST_AUTO_TEST_CASE(lanes_and_threads_follow_from_the_size) {
  BOOST_TEST(choose_lanes(0, lanes_max).lanes == 1);
  BOOST_TEST(choose_lanes(1, lanes_max).threads == 32);
  BOOST_TEST(choose_lanes(512, lanes_max).lanes == 1);
  BOOST_TEST(choose_lanes(513, lanes_max).lanes == 2);
  BOOST_TEST(choose_lanes(513, lanes_max).threads == 288);
  BOOST_TEST(choose_lanes(1 << 24, lanes_max).lanes == lanes_max);
  BOOST_TEST(choose_lanes(1 << 24, lanes_max).threads == lane_threads_max);
  // Words take one round as long as they are chosen.
  for (const std::int32_t ranks : {2, 4, 8}) {
    for (std::size_t bytes = 4; choose_sum_path(bytes, ranks) == sum_path::words; bytes += 1020) {
      const auto units = (bytes + 15) / 16;
      const auto lanes = choose_lanes(units, word_lanes_max).lanes;
      BOOST_TEST(part_of(units, lanes - 1, lanes).count <= group_layout(ranks).word_units);
    }
  }
  std::size_t next = 0;
  for (int i = 0; i < 7; ++i) {
    BOOST_TEST(part_of(100, i, 7).first == next);
    next += part_of(100, i, 7).count;
  }
  BOOST_TEST(next == 100U);
}

BOOST_AUTO_TEST_CASE(faults_travel_in_one_word) {
  const fault_record fault{group_fault::late, group_operation::recv, 7, 0xfedcba98U};
  const auto back = fault_record::unpack(fault.packed());
  BOOST_TEST((back.fault == fault.fault && back.operation == fault.operation));
  BOOST_TEST(back.peer == fault.peer);
  BOOST_TEST(back.sequence == fault.sequence);
}

BOOST_AUTO_TEST_SUITE_END()
