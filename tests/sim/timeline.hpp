// tests/sim/timeline.hpp — virtual time, and what is due when. Things of one moment happen in the order in which they were
// asked for.
#pragma once

#include "runtime/base/clock.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>

namespace vdist::testing {

class timeline {
public:
  [[nodiscard]] time_point now() const { return clock_.now(); }

  [[nodiscard]] const clock& time() const { return clock_; }

  void at(time_point when, std::function<void()> what) {
    todo_.emplace(std::max(when, now()), std::move(what));
  }

  void after(duration wait, std::function<void()> what) { at(now() + wait, std::move(what)); }

  [[nodiscard]] std::optional<time_point> next() const {
    return todo_.empty() ? std::nullopt : std::optional(todo_.begin()->first);
  }

  [[nodiscard]] bool is_due() const { return !todo_.empty() && todo_.begin()->first <= now(); }

  void run_next() {
    const auto what = std::move(todo_.begin()->second);
    todo_.erase(todo_.begin());
    what();
  }

  void advance(duration by) { clock_.advance(by); }

private:
  manual_clock clock_;
  std::multimap<time_point, std::function<void()>> todo_; // equal times in order of insertion
};

} // namespace vdist::testing
