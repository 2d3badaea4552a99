// tests/kernels/collective/host_lanes.hpp — the lane protocol on host threads: every rank, lane and thread of a block is a
// thread of this process, exchange regions are plain memory, and every access may be delayed at random.
#pragma once

#include "kernels/collective/lane_protocol.hpp"

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace vdist::kernels::testing {

/// What the threads of one block share.
struct host_block {
  explicit host_block(std::uint32_t threads)
      : size(threads), door(static_cast<std::ptrdiff_t>(threads)) {}

  std::uint32_t size;
  std::barrier<> door;
  std::atomic<int> any{0};
};

/// The Machine of lane_protocol.hpp. Units move cell by cell and words one by one, in random order: nothing wider than 64
/// bits is whole, as on a device.
class host_thread {
public:
  host_thread(host_block& block, std::uint32_t index, std::uint32_t seed, int delay_percent)
      : block_(block), index_(index), random_(seed), delay_percent_(delay_percent) {}

  [[nodiscard]] std::uint32_t thread() const { return index_; }

  [[nodiscard]] std::uint32_t threads() const { return block_.size; }

  void sync() { block_.door.arrive_and_wait(); }

  bool sync_or(bool any) {
    if (any) {
      block_.any = 1;
    }
    sync();
    const bool seen = block_.any != 0;
    sync(); // everybody has looked
    block_.any = 0;
    sync();
    return seen;
  }

  static std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
  }

  static void relax() { std::this_thread::yield(); }

  template <class Word>
  Word load(const Word* from) {
    return word(from).load(std::memory_order_relaxed);
  }

  std::uint64_t load_acquire(const std::uint64_t* from) {
    return word(from).load(std::memory_order_acquire);
  }

  void store_release(std::uint64_t* to, std::uint64_t value) {
    delay();
    word(to).store(value, std::memory_order_release);
  }

  void load_words(const std::uint64_t* from, std::uint64_t& a, std::uint64_t& b) {
    a = load(from);
    b = load(from + 1);
  }

  void store_words(std::uint64_t* to, std::uint64_t a, std::uint64_t b) {
    const bool swaps = random_() % 2 == 0;
    word(to + (swaps ? 1 : 0)).store(swaps ? b : a, std::memory_order_relaxed);
    delay();
    word(to + (swaps ? 0 : 1)).store(swaps ? a : b, std::memory_order_relaxed);
  }

  unit load_unit(const unit* from) {
    unit out;
    for (std::size_t c = 0; c < unit_cells; ++c) {
      out.at[c] = load(&from->at[c]);
    }
    delay();
    return out;
  }

  void store_unit(unit* to, const unit& value) {
    for (std::size_t c = unit_cells; c-- > 0;) {
      word(&to->at[c]).store(value.at[c], std::memory_order_relaxed);
    }
    delay();
  }

  bool claim(std::uint64_t* at, std::uint64_t value, std::uint64_t seen) {
    return word(at).compare_exchange_strong(seen, value);
  }

  void report(std::uint64_t* to, std::uint64_t value) { word(to).store(value); }

private:
  template <class Word>
  static std::atomic_ref<Word> word(const Word* at) {
    return std::atomic_ref<Word>(*const_cast<Word*>(at));
  }

  void delay() {
    if (static_cast<int>(random_() % 100) < delay_percent_) {
      for (auto turns = random_() % 4; turns > 0; --turns) {
        std::this_thread::yield();
      }
    }
  }

  host_block& block_;
  std::uint32_t index_;
  std::minstd_rand random_;
  int delay_percent_;
};

/// One rank's memory: region, state, fence, report.
struct host_rank {
  std::vector<unit> region;
  group_state state;
  std::uint32_t fence = 0;
  std::uint64_t report = 0;
  std::uint64_t waiting = 0;
};

struct host_group_settings {
  std::int32_t lanes = 2;
  std::uint32_t threads = 2; // per lane
  std::uint64_t wait_ns = 20'000'000'000;
  int delay_percent = 2;
};

/// A group whose ranks run on threads.
template <int Ranks>
class host_group {
public:
  host_group(const exchange_layout& layout, const host_group_settings& settings)
      : layout_(layout), settings_(settings), ranks_(Ranks) {
    for (auto& rank : ranks_) {
      rank.region.resize(layout.region_bytes() / unit_bytes);
    }
  }

  host_rank& rank(int r) { return ranks_[static_cast<std::size_t>(r)]; }

  void start_epoch(std::uint32_t epoch) {
    for (int r = 0; r < Ranks; ++r) {
      start_epoch(r, epoch);
    }
  }

  void start_epoch(int r, std::uint32_t epoch) {
    rank(r).state = group_state{};
    rank(r).state.epoch = epoch;
    rank(r).report = 0;
  }

  [[nodiscard]] group_view view(int r) {
    group_view out;
    for (int i = 0; i < Ranks; ++i) {
      out.regions[i] = reinterpret_cast<std::byte*>(rank(i).region.data());
    }
    out.state = &rank(r).state;
    out.fence = &rank(r).fence;
    out.report = &rank(r).report;
    out.waiting = &rank(r).waiting;
    out.wait_ns = settings_.wait_ns;
    out.layout = layout_;
    out.rank = r;
    return out;
  }

  fault_record fault(int r) {
    return fault_record::unpack(std::atomic_ref<std::uint64_t>(rank(r).report).load());
  }

  wait_record waiting(int r) {
    return wait_record::unpack(std::atomic_ref<std::uint64_t>(rank(r).waiting).load());
  }

  void raise_fence(int r, std::uint32_t to) {
    std::atomic_ref<std::uint32_t>(rank(r).fence).store(to);
  }

  /// `work(lane, rank, call)` on every thread of the lanes of `ranks`, `calls` times each, as kernels of a stream; a rank
  /// stops at its first failure. `lanes_of(call)` -> lanes of that call. Returns when all are through.
  template <class Work, class LanesOf>
  void run(const std::vector<int>& ranks, int calls, const LanesOf& lanes_of, const Work& work) {
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<host_block>> blocks;
    for (const int r : ranks) {
      // Kernels of a stream follow each other: lanes of a rank meet between calls.
      auto between = std::make_shared<std::barrier<>>(
          static_cast<std::ptrdiff_t>(settings_.lanes * static_cast<int>(settings_.threads)));
      for (int l = 0; l < settings_.lanes; ++l) {
        blocks.push_back(std::make_unique<host_block>(settings_.threads));
        for (std::uint32_t t = 0; t < settings_.threads; ++t) {
          threads.emplace_back(
              [this, &work, &lanes_of, calls, r, l, t, between, block = blocks.back().get()] {
                const auto mine = view(r);
                host_thread machine(*block,
                                    t,
                                    static_cast<std::uint32_t>(1 + r * 1000 + l * 100) + t,
                                    settings_.delay_percent);
                for (int call = 0; call < calls; ++call) {
                  const int lanes = lanes_of(call);
                  if (l < lanes) {
                    lane<host_thread, Ranks> at(
                        machine, mine, l, lanes, group_operation::all_reduce);
                    if (at.begin() && work(at, r, call)) {
                      at.end();
                    }
                  }
                  between->arrive_and_wait();
                }
              });
        }
      }
    }
    for (auto& thread : threads) {
      thread.join();
    }
  }

private:
  exchange_layout layout_;
  host_group_settings settings_;
  std::vector<host_rank> ranks_;
};

} // namespace vdist::kernels::testing
