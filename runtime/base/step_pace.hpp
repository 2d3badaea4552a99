// runtime/base/step_pace.hpp — how long the next step may take, learned from those before: the budget that a worker
// writes beside its progress word.
// Steps of about the same size (a power of two of tokens) form a class, because a prefill takes longer than a decode step.
// The budget is `margin` times the slowest step of its class, never below `floor` and never above `at_first`.
// A class that has not seen `to_learn` steps borrows from those that have: a step takes no longer than a larger one,
// and than a smaller one times the tokens it has more. While no class knows, the budget is `at_first`: cold caches, page
// faults and first launches are slow and not broken.
// Who says how many steps are remembered forgets what was slower before: then the budget follows the slowest of the last
// `remembered` to twice as many steps of a class. The first `ignored` steps of a class, which on a device load and record, are
// seen and say nothing about its pace.
// A class that is known by fewer than steps_to_learn steps may have seen only its smallest, which take half as long as its
// largest: for a step larger than all of them the pace is at least three quarters of what is in proportion.
// Not thread-safe. Cost: a few instructions; some dozens for a class that is new.
// What was learned may be left to a successor, in memory that outlives the process (pace_words).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace vdist {

inline constexpr std::size_t pace_classes =
    65; // of sizes: the bits of a number of tokens, or of whatever else makes steps longer

/// By class, how slow its steps are, in milliseconds; 0: not known. Written by one process at a time, read by the next: a
/// torn or damaged number is as good as any other, because a budget has bounds. Zero-filled memory is the beginning.
/// Two paces may share them where no size of one is in a class of the other.
struct pace_words {
  std::array<std::atomic<std::uint32_t>, pace_classes> slowest_ms{};
};

class step_pace {
public:
  using milliseconds = std::chrono::milliseconds;

  static constexpr int margin = 8;
  static constexpr milliseconds shortest{
      1}; // of a step: 0 would be unknown, and nothing times any size
  static constexpr std::uint32_t steps_to_learn = 8;

  /// How the budget follows the pace.
  struct memory {
    int margin = step_pace::margin;
    std::uint32_t remembered = 0;            // steps of a class; 0: all
    std::uint32_t ignored = 0;               // first steps of a class; below to_learn
    std::uint32_t to_learn = steps_to_learn; // steps of a class until it is known
  };

  step_pace(milliseconds floor, milliseconds at_first) : step_pace(floor, at_first, memory()) {}

  step_pace(milliseconds floor, milliseconds at_first, const memory& how)
      : floor_(floor), at_first_(at_first), how_(how) {}

  [[nodiscard]] milliseconds budget(std::int64_t tokens) const {
    return bound_of(slowest_of(tokens));
  }

  /// Whether the next step of this class is one of the first, which say nothing.
  [[nodiscard]] bool ignores(std::int64_t tokens) const {
    return classes_[class_of(tokens)].steps < how_.ignored;
  }

  /// Whether steps of this class have been seen often enough, not only others.
  [[nodiscard]] bool knows(std::int64_t tokens) const { return is_known(class_of(tokens)); }

  /// budget() for a worker that has yet to learn what its predecessor has left: the first steps of a process may be slower,
  /// so `patience` times as much as that one would have had.
  [[nodiscard]] milliseconds
  budget(std::int64_t tokens, const pace_words& left, int patience) const {
    const auto slowest = left.slowest_ms[class_of(tokens)].load(std::memory_order_relaxed);
    const auto own = budget(tokens);
    if (knows(tokens) || slowest == 0) {
      return own;
    }
    return std::min(own, patience * bound_of(milliseconds(slowest)));
  }

  /// Once it is known, and not only borrowed.
  void leave(std::int64_t tokens, pace_words& to) const {
    const auto index = class_of(tokens);
    if (is_known(index)) {
      to.slowest_ms[index].store(static_cast<std::uint32_t>(classes_[index].pace().count()),
                                 std::memory_order_relaxed);
    }
  }

  void finished(std::int64_t tokens, std::chrono::nanoseconds elapsed) {
    auto& seen = classes_[class_of(tokens)];
    seen.largest = std::max(seen.largest, tokens);
    if (++seen.steps <= how_.ignored) {
      return;
    }
    if (how_.remembered > 0 && seen.steps % how_.remembered == 0) {
      seen.slowest_before = std::exchange(seen.slowest, milliseconds(0));
    }
    const auto pace = std::chrono::ceil<milliseconds>(elapsed);
    seen.slowest = std::max({seen.slowest, pace, shortest});
  }

private:
  struct size_class {
    std::uint64_t steps = 0;
    std::int64_t largest = 0; // of them, in tokens
    milliseconds slowest{0};
    milliseconds slowest_before{0}; // of as many steps before these

    [[nodiscard]] milliseconds pace() const { return std::max(slowest, slowest_before); }
  };

  [[nodiscard]] bool is_known(std::size_t index) const {
    return classes_[index].steps >= how_.to_learn;
  }

  [[nodiscard]] milliseconds bound_of(milliseconds slowest) const {
    return std::clamp(how_.margin * slowest, floor_, at_first_);
  }

  /// Of a class that is known, for a step of so many tokens.
  [[nodiscard]] static milliseconds pace_of(const size_class& known, std::int64_t tokens) {
    if (known.steps >= steps_to_learn || tokens <= known.largest) {
      return known.pace();
    }
    const auto in_proportion =
        static_cast<double>(tokens) / static_cast<double>(std::max<std::int64_t>(known.largest, 1));
    return std::max(known.pace(),
                    std::chrono::ceil<milliseconds>(known.pace() * 0.75 * in_proportion));
  }

  /// At least as slow as a step of so many tokens should be; the nearest class that knows says so.
  [[nodiscard]] milliseconds slowest_of(std::int64_t tokens) const {
    const auto wanted = class_of(tokens);
    for (auto larger = wanted; larger < classes_.size(); ++larger) {
      if (is_known(larger)) {
        return std::min(pace_of(classes_[larger], tokens), at_first_);
      }
    }
    // The largest step of a class has less than 2^(n + 1) times the tokens of the smallest one n classes below.
    for (std::size_t below = 1; below <= wanted && below <= doublings_max; ++below) {
      if (is_known(wanted - below)) {
        return std::min(classes_[wanted - below].pace() * (2 << below), at_first_);
      }
    }
    return at_first_;
  }

  /// Larger ratios say nothing.
  static constexpr std::size_t doublings_max = 20;

  static std::size_t class_of(std::int64_t tokens) {
    return static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(tokens, 0))));
  }

  milliseconds floor_;
  milliseconds at_first_; // at least floor_
  memory how_;
  std::array<size_class, pace_classes> classes_;
};

} // namespace vdist
