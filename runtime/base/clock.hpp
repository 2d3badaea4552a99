// runtime/base/clock.hpp — time as a constructor argument, so that tests own it.
// Components that time out, pace or measure take a clock&; none calls steady_clock::now() itself.
#pragma once

#include <atomic>
#include <chrono>

namespace vdist {

using time_point = std::chrono::steady_clock::time_point;
using duration = std::chrono::steady_clock::duration;

/// Monotonic time. Callable from any thread.
class clock {
public:
  virtual ~clock() = default;
  [[nodiscard]] virtual time_point now() const = 0;
};

/// The machine's monotonic clock.
class system_clock final : public clock {
public:
  [[nodiscard]] time_point now() const override { return std::chrono::steady_clock::now(); }
};

/// A clock that a test moves by hand.
class manual_clock final : public clock {
public:
  [[nodiscard]] time_point now() const override { return time_point(duration(ticks_.load())); }

  void advance(duration d) { ticks_.fetch_add(d.count()); }

private:
  std::atomic<duration::rep> ticks_{1};
};

} // namespace vdist
