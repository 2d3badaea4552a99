// runtime/base/step_pace.hpp — how long the next step may take, learned from those before: the budget that a worker
// writes beside its progress word.
// Steps of about the same size (a power of two of tokens) form a class, because a prefill takes longer than a decode step.
// The budget is `margin` times the slowest step of its class, never below `floor`, and `at_first` until the class has seen
// `steps_to_learn` steps: cold caches, page faults and first launches are slow and not broken.
// Not thread-safe. Cost: a few instructions.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace vdist {

class step_pace {
public:
  using milliseconds = std::chrono::milliseconds;

  static constexpr int margin = 8;
  static constexpr std::uint32_t steps_to_learn = 8;

  step_pace(milliseconds floor, milliseconds at_first) : floor_(floor), at_first_(at_first) {}

  [[nodiscard]] milliseconds budget(std::int64_t tokens) const {
    const auto& seen = classes_[class_of(tokens)];
    return seen.steps < steps_to_learn ? at_first_
                                       : std::clamp(margin * seen.slowest, floor_, at_first_);
  }

  void finished(std::int64_t tokens, std::chrono::nanoseconds elapsed) {
    auto& seen = classes_[class_of(tokens)];
    ++seen.steps;
    seen.slowest = std::max(seen.slowest, std::chrono::ceil<milliseconds>(elapsed));
  }

private:
  struct size_class {
    std::uint32_t steps = 0;
    milliseconds slowest{0};
  };

  static std::size_t class_of(std::int64_t tokens) {
    return static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(tokens, 0))));
  }

  milliseconds floor_;
  milliseconds at_first_; // at least floor_
  std::array<size_class, 65> classes_;
};

} // namespace vdist
