#include "model/exec/host_wait.hpp"

#include "model/exec/device_failure.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::exec {

namespace {

/// Between two looks of whoever observes.
constexpr std::chrono::microseconds look_interval{100};

} // namespace

result<void> host_wait::in_step(std::uint64_t step, kernels::queue_mark mark, time_point until) {
  if (observer_ == nullptr || queue_.is_host_memory()) {
    return alone(mark, until);
  }
  const auto is_done = [this, mark] {
    return queue_.wait(mark, std::chrono::nanoseconds(0));
  };
  while (!queue_.wait(mark, look_interval)) {
    if (!queue_.failure().empty() || std::chrono::steady_clock::now() >= until) {
      return alone(mark, until); // says which
    }
    VDIST_TRY(look(step, is_done));
  }
  observer_->go_on(step);
  return {};
}

result<void> host_wait::alone(kernels::queue_mark mark, time_point until) {
  const auto left = until - std::chrono::steady_clock::now();
  if (queue_.wait(mark, std::max(left, std::chrono::steady_clock::duration(0)))) {
    return {};
  }
  if (!queue_.failure().empty()) {
    return error_of(queue_);
  }
  return fail(
      errc::device_failed,
      fmt::format("wait for the device: a step takes too long (deadline_ms={})", longest_.count()));
}

} // namespace vdist::exec
