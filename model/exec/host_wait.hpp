// model/exec/host_wait.hpp — how the host waits for its device: never without a deadline, and within a step under the eyes of
// whoever observes it (E-7 of step_runner.hpp), wherever in the step it waits. Not thread-safe: one worker owns it.
// Whoever looks goes by the clock, and a thread may have had no CPU since it last asked the device: only what is not done then
// either ends a wait.
#pragma once

#include "model/exec/step_runner.hpp"

#include "runtime/base/result.hpp"

#include "kernels/device_queue.hpp"

#include <chrono>
#include <cstdint>

namespace vdist::exec {

class host_wait {
public:
  /// While it lives, waits that name no step belong to the launch of this one.
  class launch_scope {
  public:
    launch_scope(host_wait& wait, std::uint64_t step) noexcept : wait_(wait) {
      wait_.launched_ = step;
    }

    ~launch_scope() { wait_.launched_ = no_step; }

    launch_scope(const launch_scope&) = delete;
    launch_scope& operator=(const launch_scope&) = delete;

  private:
    host_wait& wait_;
  };

  using time_point = std::chrono::steady_clock::time_point;

  /// `longest`: of a wait that names no deadline. `queue` outlives this.
  host_wait(kernels::device_queue& queue, std::chrono::milliseconds longest)
      : queue_(queue), longest_(longest) {}

  /// Borrowed; null: nobody looks.
  void observe(wait_observer* by) noexcept { observer_ = by; }

  [[nodiscard]] std::chrono::milliseconds longest() const noexcept { return longest_; }

  /// Of one that begins now.
  [[nodiscard]] time_point deadline() const { return std::chrono::steady_clock::now() + longest_; }

  /// For all that the queue has been given so far.
  [[nodiscard]] result<void> for_all() {
    return launched_ == no_step ? alone(queue_.mark(), deadline())
                                : in_step(launched_, queue_.mark(), deadline());
  }

  /// For a part of `step` or all of it; what came before that step is done.
  [[nodiscard]] result<void>
  in_step(std::uint64_t step, kernels::queue_mark mark, time_point until);

  /// Until `is_done`, of another queue's part of the step; at once where nobody looks.
  template <class Condition>
  [[nodiscard]] result<void> until(std::uint64_t step, const Condition& is_done) {
    if (observer_ == nullptr || is_done()) {
      return {};
    }
    do {
      VDIST_TRY(look(step, is_done));
    } while (!is_done());
    observer_->go_on(step);
    return {};
  }

private:
  static constexpr std::uint64_t no_step = UINT64_MAX;

  /// An error holds if it is still not done. That the epoch is over holds in any case.
  template <class Condition>
  [[nodiscard]] result<void> look(std::uint64_t step, const Condition& is_done) {
    auto found = observer_->look(step);
    if (!found && found.error().code != errc::aborted && is_done()) {
      return {};
    }
    return found;
  }

  [[nodiscard]] result<void> alone(kernels::queue_mark mark, time_point until);

  kernels::device_queue& queue_;
  std::chrono::milliseconds longest_;
  wait_observer* observer_ = nullptr;
  std::uint64_t launched_ = no_step;
};

} // namespace vdist::exec
