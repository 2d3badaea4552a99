// tests/kernels/cuda/device_group_fixture.hpp — ranks as threads, each with a backend and a stream of its own, on one GPU
// or on one each. Memory is allocated before ranks run and freed when all are done: freeing waits for the device, and a
// rank that waits for a rank that frees would wait for ever.
#pragma once

#include "tests/kernels/cuda/cuda_fixture.hpp"

#include <algorithm>
#include <barrier>
#include <bit>
#include <cmath>
#include <functional>
#include <random>
#include <thread>

namespace vdist::kernels::testing {

/// Before CUDA starts: a hardware queue per stream, or a rank's kernel may sit behind that of a rank that waits for it; and
/// no kernel is loaded while another one waits.
inline const bool is_device_prepared = [] {
  (void)setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  (void)setenv("CUDA_MODULE_LOADING", "EAGER", 1);
  return true;
}();

inline constexpr std::chrono::seconds device_patience{30};

class rank_threads {
public:
  struct rank {
    std::int32_t device = 0;
    std::byte* region = nullptr;
    std::unique_ptr<backend> ops;
    std::unique_ptr<device_group> group;
  };

  /// Rank r on devices[r].
  rank_threads(const std::vector<std::int32_t>& devices,
               const exchange_layout& layout,
               std::chrono::nanoseconds wait = std::chrono::seconds(20))
      : ranks_(devices.size()) {
    auto* module = cuda_or_null();
    BOOST_REQUIRE(module != nullptr && is_device_prepared);
    std::string why;
    device_group_config config{
        .ranks = static_cast<std::int32_t>(devices.size()), .layout = layout, .wait = wait};
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      ranks_[r].device = devices[r];
      ranks_[r].region =
          static_cast<std::byte*>(module->allocate(devices[r], layout.region_bytes(), why));
      BOOST_REQUIRE_MESSAGE(ranks_[r].region != nullptr, why);
      config.regions[r] = ranks_[r].region;
    }
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      ranks_[r].ops = module->make_backend({.device = devices[r],
                                            .max_positions = 64,
                                            .max_tokens = 16,
                                            .max_heads = 1,
                                            .max_head_dim = 64,
                                            .max_logit_rows = 1},
                                           why);
      BOOST_REQUIRE_MESSAGE(ranks_[r].ops != nullptr, why);
      config.rank = static_cast<std::int32_t>(r);
      ranks_[r].group = ranks_[r].ops->join_group(config, why);
      BOOST_REQUIRE_MESSAGE(ranks_[r].group != nullptr, why);
    }
  }

  ~rank_threads() {
    for (auto& mine : ranks_) {
      use(mine);
      mine.group.reset();
      mine.ops.reset();
    }
    for (auto& mine : ranks_) {
      cuda_or_null()->release(mine.device, mine.region);
    }
  }

  rank_threads(const rank_threads&) = delete;
  rank_threads& operator=(const rank_threads&) = delete;

  [[nodiscard]] std::size_t size() const { return ranks_.size(); }

  rank& at(std::size_t r) { return ranks_[r]; }

  void start_epoch(std::uint32_t epoch) {
    for (auto& mine : ranks_) {
      use(mine);
      mine.group->raise_fence(epoch);
      BOOST_REQUIRE(mine.group->start_epoch(epoch, device_patience));
    }
  }

  /// `work(rank, r)` on a thread per rank of `who`; fails the case when the device is not through within the patience.
  template <class Work>
  void run(const std::vector<std::size_t>& who, const Work& work) {
    std::vector<std::thread> threads;
    std::vector<char> is_through(ranks_.size(), 0);
    std::barrier<> begin(
        static_cast<std::ptrdiff_t>(who.size())); // nothing waits on the device before
    for (const auto r : who) {
      threads.emplace_back([this, r, &work, &is_through, &begin] {
        auto& mine = ranks_[r];
        use(mine);
        begin.arrive_and_wait();
        work(mine, r);
        auto& queue = mine.ops->queue();
        is_through[r] = queue.wait(queue.mark(), device_patience) ? 1 : 0;
      });
    }
    for (auto& thread : threads) {
      thread.join();
    }
    for (const auto r : who) {
      BOOST_REQUIRE_MESSAGE(is_through[r] != 0,
                            "rank " << r << ": " << ranks_[r].ops->queue().failure());
    }
  }

  template <class Work>
  void run(const Work& work) {
    std::vector<std::size_t> who(size());
    for (std::size_t r = 0; r < who.size(); ++r) {
      who[r] = r;
    }
    run(who, work);
  }

  void check_no_fault() {
    for (std::size_t r = 0; r < size(); ++r) {
      BOOST_TEST((at(r).group->fault().fault == group_fault::none), "rank " << r << " has failed");
    }
  }

private:
  /// The calling thread's device becomes the rank's.
  static void use(const rank& mine) {
    std::string why;
    (void)cuda_or_null()->use_device(mine.device, why);
  }

  std::vector<rank> ranks_;
};

/// Floats that do not add without rounding, by rank.
inline std::vector<std::vector<float>>
rank_values(std::size_t ranks, std::size_t count, std::uint32_t seed) {
  std::vector<std::vector<float>> out(ranks);
  std::minstd_rand random(seed);
  for (auto& values : out) {
    values.resize(count);
    for (float& value : values) {
      value = std::ldexp(static_cast<float>(random()) - 1e9F, static_cast<int>(random() % 24) - 40);
    }
  }
  return out;
}

/// T-2 as it is defined.
inline float tree_of(const float* x, std::size_t count) {
  if (count == 1) {
    return x[0];
  }
  const auto left = std::bit_floor(count - 1);
  return tree_of(x, left) + tree_of(x + left, count - left);
}

inline std::vector<float> tree_sums(const std::vector<std::vector<float>>& parts) {
  std::vector<float> out(parts.front().size());
  std::vector<float> column(parts.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (std::size_t r = 0; r < parts.size(); ++r) {
      column[r] = parts[r][i];
    }
    out[i] = tree_of(column.data(), column.size());
  }
  return out;
}

inline bool have_equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// One float32 sum of `count` elements, `shift` elements off the alignment, with canaries on both sides.
inline void check_sum(rank_threads& ranks, std::size_t count, std::size_t shift) {
  constexpr std::size_t margin = 16;
  constexpr float canary = 12345.0F;
  const auto values =
      rank_values(ranks.size(), count, static_cast<std::uint32_t>(count * 8 + shift + 1));
  std::vector<std::unique_ptr<device_array<float>>> data;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    std::vector<float> padded(count + 2 * margin + shift, canary);
    std::copy(values[r].begin(),
              values[r].end(),
              padded.begin() + static_cast<std::ptrdiff_t>(margin + shift));
    data.push_back(std::make_unique<device_array<float>>(*ranks.at(r).ops, padded));
  }
  ranks.run([&](rank_threads::rank& mine, std::size_t r) {
    mine.group->all_reduce(
        {.data = data[r]->data() + margin + shift, .count = static_cast<std::int64_t>(count)});
  });
  ranks.check_no_fault();
  const auto want = tree_sums(values);
  for (const auto& mine : data) {
    const auto got = mine->read();
    const auto first = got.begin() + static_cast<std::ptrdiff_t>(margin + shift);
    const auto last = first + static_cast<std::ptrdiff_t>(count);
    BOOST_TEST(have_equal_bits({first, last}, want), "count " << count << " shift " << shift);
    BOOST_TEST(std::count(got.begin(), first, canary)
               == static_cast<std::ptrdiff_t>(margin + shift));
    BOOST_TEST(std::count(last, got.end(), canary) == static_cast<std::ptrdiff_t>(margin));
  }
}

} // namespace vdist::kernels::testing
