// transport/frame/wait_policy.hpp — the one way in which vdist waits for another thread or process.
// Three phases: sleep until shortly before the expected moment, if there is one; then 16 pauses and
// a sched_yield in turn while the spin budget lasts; then sleep on the bell in bounded slices.
// Why: a wake-up from sleep costs 20 to 60 µs, a spin 1 to 2; but a spinner without sched_yield
// that shares its core with the one it waits for loses 4 ms. With fewer cores than threads set the
// budget to 0. Every wait has a deadline and may have a fence; a raised fence ends it also while
// asleep. Stateless apart from its settings: copy it freely; any thread.
#pragma once

#include "transport/frame/bell.hpp"
#include "transport/frame/fence.hpp"

#include "runtime/base/clock.hpp"

#include <chrono>

namespace vdist::frame {

struct wait_settings {
  std::chrono::microseconds spin_budget{200}; // 0: sleep at once
  std::chrono::milliseconds slice_max{100}; // longest single sleep; conditions are seen again then
  std::chrono::microseconds wake_lead{300}; // how long before the expected moment to be awake
};

enum class wait_status : std::uint8_t { ok, timed_out, aborted };

/// What bounds one wait.
struct wait_bounds {
  time_point deadline;         // in time of the policy's clock
  const fence* stop = nullptr; // borrowed for the call; nullptr: none
  epoch mine{};                // the wait is aborted when the fence is above this
  time_point expected_at{};    // when the condition is expected; default: unknown
};

class wait_policy {
public:
  static constexpr int pauses_per_yield = 16;
  /// Tells the core that this thread only waits; some tens of nanoseconds.
  static void pause() noexcept;

  /// `time` is borrowed and outlives the policy.
  wait_policy(const wait_settings& settings, const clock& time)
      : settings_(settings), clock_(&time) {}

  /// Returns ok as soon as `ready()` is true. Whoever makes it true rings `door` afterwards.
  /// A true condition wins over the deadline, a raised fence wins over both.
  template <class Ready>
  [[nodiscard]] wait_status wait(bell& door, Ready&& ready, const wait_bounds& bounds) const {
    if (const auto now = poll(ready, bounds); now != progress::go_on) {
      return finish(now);
    }
    if (bounds.expected_at > time_point{}) {
      const auto until = bounds.expected_at - settings_.wake_lead;
      if (const auto now = sleep_until(door, ready, bounds, until); now != progress::go_on) {
        return finish(now);
      }
    }
    if (const auto now = spin(ready, bounds); now != progress::go_on) {
      return finish(now);
    }
    return finish(sleep_until(door, ready, bounds, bounds.deadline));
  }

  [[nodiscard]] time_point now() const { return clock_->now(); }

  [[nodiscard]] const wait_settings& settings() const noexcept { return settings_; }

private:
  enum class progress : std::uint8_t { ready, timed_out, aborted, go_on };

  static wait_status finish(progress p) noexcept {
    return p == progress::ready     ? wait_status::ok
           : p == progress::aborted ? wait_status::aborted
                                    : wait_status::timed_out;
  }

  template <class Ready>
  static progress poll(Ready&& ready, const wait_bounds& bounds) {
    if (bounds.stop != nullptr && bounds.stop->is_raised_above(bounds.mine)) {
      return progress::aborted;
    }
    return ready() ? progress::ready : progress::go_on;
  }

  template <class Ready>
  progress spin(Ready&& ready, const wait_bounds& bounds) const {
    if (settings_.spin_budget.count() == 0) {
      return progress::go_on;
    }
    const auto end = now() + settings_.spin_budget;
    while (true) {
      for (int i = 0; i < pauses_per_yield; ++i) {
        pause();
        if (const auto p = poll(ready, bounds); p != progress::go_on) {
          return p;
        }
      }
      const auto at = now();
      if (at >= bounds.deadline) {
        return progress::timed_out;
      }
      if (at >= end) {
        return progress::go_on;
      }
      yield();
    }
  }

  /// Sleeps in slices; go_on when `until` passed before the deadline.
  template <class Ready>
  progress
  sleep_until(bell& door, Ready&& ready, const wait_bounds& bounds, time_point until) const {
    while (true) {
      const auto rings = door.rings_.load(std::memory_order_seq_cst);
      door.note_sleeper(rings);
      if (const auto p = poll(ready, bounds); p != progress::go_on) {
        return p;
      }
      const auto at = now();
      if (at >= bounds.deadline) {
        return progress::timed_out;
      }
      if (at >= until) {
        return progress::go_on;
      }
      const auto end = until < bounds.deadline ? until : bounds.deadline;
      sleep(door, rings, bounds, end - at);
    }
  }

  static void yield() noexcept;

  /// One sleep of at most min(at_most, slice_max) while `rings` and the fence stay as they are.
  void
  sleep(const bell& door, std::uint32_t rings, const wait_bounds& bounds, duration at_most) const;

  wait_settings settings_;
  const clock* clock_;
};

/// Predicts when the next result of a regular loop arrives: 0.9 of the smoothed interval.
class arrival_predictor {
public:
  /// The result of what started at `start` came at `end`.
  void observe(time_point start, time_point end) noexcept;

  /// When the result of what starts at `start` is expected; time_point{} while nothing is known.
  [[nodiscard]] time_point expected_at(time_point start) const noexcept;

private:
  duration smoothed_{0};
};

} // namespace vdist::frame
