// tests/transport/tensor/group_fixture.hpp — a group of ranks as threads over one exchange region.
#pragma once

#include "transport/tensor/shared_communicator.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace vdist::testing {

using namespace std::chrono_literals;

inline const system_clock group_clock;

/// Zero-filled memory, aligned as a region must be.
class test_region {
public:
  explicit test_region(std::size_t bytes) : lines_((bytes + 63) / 64), bytes_(bytes) {}

  [[nodiscard]] std::span<std::byte> span() { return {lines_[0].bytes, bytes_}; }

private:
  struct alignas(64) line {
    std::byte bytes[64];
  };

  std::vector<line> lines_;
  std::size_t bytes_;
};

struct group_options {
  std::int32_t size = 2;
  std::size_t slot_floats = 256;
  std::size_t one_shot_floats_max = 100;
  std::chrono::milliseconds timeout = 20s;
  frame::wait_settings waits{.spin_budget = 50us, .slice_max = 10000ms};
};

/// The ranks of one group. Ranks are replaced by joining again.
class test_group {
public:
  explicit test_group(const group_options& options)
      : options_(options), region_(tensor::exchange_bytes(options.size, options.slot_floats)) {
    for (std::int32_t r = 0; r < options.size; ++r) {
      ranks_.push_back(join(r, options_.timeout));
    }
  }

  [[nodiscard]] std::unique_ptr<tensor::communicator> join(std::int32_t rank) {
    return join(rank, options_.timeout);
  }

  [[nodiscard]] std::unique_ptr<tensor::communicator> join(std::int32_t rank,
                                                           std::chrono::milliseconds timeout) {
    auto made =
        tensor::make_shared_communicator(region_.span(),
                                         {.rank = rank,
                                          .size = options_.size,
                                          .slot_floats = options_.slot_floats,
                                          .one_shot_floats_max = options_.one_shot_floats_max,
                                          .timeout = timeout,
                                          .stop = &stop},
                                         frame::wait_policy(options_.waits, group_clock));
    BOOST_REQUIRE(made);
    return std::move(made).value();
  }

  void replace(std::int32_t rank) { ranks_[static_cast<std::size_t>(rank)] = join(rank); }

  tensor::communicator& operator[](std::int32_t rank) {
    return *ranks_[static_cast<std::size_t>(rank)];
  }

  /// Runs `work` for every rank but `absent`, each in its own thread, and waits for the end.
  void run(const std::function<void(tensor::communicator&)>& work, std::int32_t absent = -1) {
    std::vector<std::thread> threads;
    for (auto& rank : ranks_) {
      if (rank->rank() != absent) {
        threads.emplace_back([&work, member = rank.get()] { work(*member); });
      }
    }
    for (auto& thread : threads) {
      thread.join();
    }
  }

  void start_all(epoch next) {
    for (auto& rank : ranks_) {
      BOOST_REQUIRE(rank->start_epoch(next));
    }
  }

  frame::fence stop;

private:
  group_options options_;
  test_region region_;
  std::vector<std::unique_ptr<tensor::communicator>> ranks_;
};

/// What rank `rank` contributes to operation `n`: the same on every call, different everywhere.
inline std::vector<float> contribution(std::int32_t rank, std::uint64_t n, std::size_t floats) {
  std::mt19937 random(static_cast<std::uint32_t>(n * 64 + static_cast<std::uint64_t>(rank)));
  std::vector<float> values(floats);
  for (auto& value : values) {
    // Magnitudes far apart, so that another order of addition gives other bits.
    const auto mantissa = static_cast<float>(static_cast<std::int32_t>(random()));
    value = std::ldexp(mantissa, -31 + static_cast<int>(random() % 20));
  }
  return values;
}

/// The rule T-2 of communicator.hpp, literally.
inline float tree_of(const std::vector<std::vector<float>>& parts,
                     std::size_t first,
                     std::size_t count,
                     std::size_t i) {
  if (count == 1) {
    return parts[first][i];
  }
  std::size_t half = 1;
  while (half * 2 < count) {
    half *= 2;
  }
  return tree_of(parts, first, half, i) + tree_of(parts, first + half, count - half, i);
}

inline std::vector<float> expected_sum(std::int32_t size, std::uint64_t n, std::size_t floats) {
  std::vector<std::vector<float>> parts;
  for (std::int32_t r = 0; r < size; ++r) {
    parts.push_back(contribution(r, n, floats));
  }
  std::vector<float> sum(floats);
  for (std::size_t i = 0; i < floats; ++i) {
    sum[i] = tree_of(parts, 0, parts.size(), i);
  }
  return sum;
}

inline bool has_same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size()
         && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

} // namespace vdist::testing
