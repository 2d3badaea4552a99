// tests/transport/tensor/dying_ranks.hpp — groups of processes of which one dies, or stops and goes
// on later, in the middle of operations, and is replaced in the next epoch. For every communicator.
#pragma once

#include "tests/transport/tensor/communicator_conformance.hpp"

namespace vdist::testing {

constexpr std::int32_t mortal_group_size = 3;
constexpr std::int32_t victim_rank = 1;

/// Takes part in epochs first … last. Sums without end in each: it ends with an error, and the next
/// one begins when the test raises the fence. Only the final epoch of the test ends well.
struct mortal_body {
  std::uint32_t first_epoch = 1;
  std::uint32_t last_epoch = 1;
  std::uint32_t final_epoch = 1; // at most 14
  std::size_t floats = 30;
  std::uint64_t sums_of_final = 20;

  /// counters[e]: sums made in epoch e, all ranks together. counters[15]: codes of errors, as bits.
  void operator()(test_rank& rank) const {
    const auto group = rank.join();
    for (auto now = first_epoch; now <= last_epoch; ++now) {
      rank.expect(group->start_epoch(epoch(now)), "start_epoch");
      const auto outcome = sum_until_the_end(rank, *group, now);
      if (now == final_epoch) {
        rank.expect(outcome, "a sum of the final epoch");
        return;
      }
      rank.board().counters[error_bits] |= bit_of(outcome.error().code);
      const auto is_next = [&] {
        return rank.board().stop.is_raised_above(epoch(now));
      };
      rank.expect(comes_true(is_next), "the next epoch begins");
    }
  }

  /// The same in one epoch only.
  [[nodiscard]] mortal_body in(std::uint32_t one_epoch) const {
    auto body = *this;
    body.first_epoch = one_epoch;
    body.last_epoch = one_epoch;
    return body;
  }

  static std::uint32_t bit_of(errc code) { return 1U << static_cast<unsigned>(code); }

  static constexpr std::size_t error_bits = 15;

private:
  [[nodiscard]] result<void>
  sum_until_the_end(const test_rank& rank, tensor::communicator& group, std::uint32_t now) const {
    for (std::uint64_t n = 0; now != final_epoch || n < sums_of_final; ++n) {
      auto data = contribution(rank.rank(), n % 8, floats);
      VDIST_TRY(group.all_reduce_sum(data));
      rank.expect(has_same_bits(data, expected_sum(mortal_group_size, n % 8, floats)),
                  "sum " + std::to_string(n) + " of epoch " + std::to_string(now));
      ++rank.board().counters[now];
    }
    return {};
  }
};

class mortal_group {
public:
  mortal_group(const communicator_kind& kind, const group_shape& shape)
      : kind_(kind), shape_(shape), memory_(kind.region_bytes(shape)) {}

  [[nodiscard]] test_board& board() { return memory_.board(); }

  [[nodiscard]] std::unique_ptr<rank_process> spawn(std::int32_t rank, const mortal_body& body) {
    return std::make_unique<rank_process>(kind_, shape_, memory_, rank, body);
  }

  /// The ranks that are not the victim.
  void spawn_survivors(const mortal_body& body) {
    for (std::int32_t r = 0; r < mortal_group_size; ++r) {
      if (r != victim_rank) {
        survivors_.push_back(spawn(r, body));
      }
    }
  }

  void wait_for_sums(std::uint32_t of_epoch, std::uint32_t sums) {
    BOOST_REQUIRE(comes_true([&] { return board().counters[of_epoch] >= sums; }));
  }

  void join_survivors() {
    for (auto& survivor : survivors_) {
      BOOST_TEST(survivor->wait() == 0);
    }
    require_no_failure(board());
  }

private:
  const communicator_kind kind_;
  const group_shape shape_;
  shared_memory memory_;
  std::vector<std::unique_ptr<rank_process>> survivors_;
};

/// T-3: killed at any instruction; the fence frees the others; a successor goes on with them.
inline void check_killed_ranks(const communicator_kind& kind, const group_shape& shape) {
  constexpr std::uint32_t epochs = 6;
  mortal_group group(kind, shape);
  const mortal_body body{.last_epoch = epochs, .final_epoch = epochs, .floats = shape.slot_floats};
  group.spawn_survivors(body);
  for (std::uint32_t now = 1; now < epochs; ++now) {
    const auto victim = group.spawn(victim_rank, body.in(now));
    group.wait_for_sums(now, 7 * now);
    victim->signal(SIGKILL);
    BOOST_TEST(WIFSIGNALED(victim->wait()));
    group.board().stop.raise(epoch(now + 1));
  }
  BOOST_TEST(group.spawn(victim_rank, body.in(epochs))->wait() == 0);
  group.join_survivors();
}

/// Without a fence the survivors find out by themselves. Returns the errors that they got, as bits.
inline std::uint32_t errors_without_a_fence(const communicator_kind& kind,
                                            const group_shape& shape) {
  mortal_group group(kind, shape);
  const mortal_body body{.last_epoch = 2, .final_epoch = 2};
  group.spawn_survivors(body);
  {
    const auto victim = group.spawn(victim_rank, body.in(1));
    group.wait_for_sums(1, 10);
    victim->signal(SIGKILL);
  }
  auto& errors = group.board().counters[mortal_body::error_bits];
  BOOST_REQUIRE(comes_true([&] { return errors != 0; }));
  const std::uint32_t seen = errors; // before the fence
  group.board().stop.raise(epoch(2));
  BOOST_TEST(group.spawn(victim_rank, body.in(2))->wait() == 0);
  group.join_survivors();
  return seen;
}

/// T-3: a rank is stopped at any instruction and replaced; when it goes on it changes nothing, and
/// learns that its epoch is over.
inline void
check_late_ranks(const communicator_kind& kind, const group_shape& shape, std::uint32_t epochs) {
  mortal_group group(kind, shape);
  const mortal_body body{.last_epoch = epochs, .final_epoch = epochs, .floats = shape.slot_floats};
  group.spawn_survivors(body);
  auto present = group.spawn(victim_rank, body.in(1));
  for (std::uint32_t now = 1; now < epochs; ++now) {
    group.wait_for_sums(now, 5 + now);
    present->signal(SIGSTOP);
    present->wait_stopped();
    group.board().stop.raise(epoch(now + 1));
    auto successor = group.spawn(victim_rank, body.in(now + 1));
    group.wait_for_sums(now + 1, 3);
    present->signal(SIGCONT); // into the sums of its successor
    BOOST_TEST(present->wait() == 0);
    present = std::move(successor);
  }
  BOOST_TEST(present->wait() == 0);
  group.join_survivors();
  BOOST_TEST(group.board().counters[mortal_body::error_bits] == mortal_body::bit_of(errc::aborted));
}

} // namespace vdist::testing
