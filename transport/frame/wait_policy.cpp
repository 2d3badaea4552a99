#include "transport/frame/wait_policy.hpp"

#include "transport/frame/futex.hpp"

#include <algorithm>
#include <sched.h>

namespace vdist::frame {

void wait_policy::pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void wait_policy::yield() noexcept {
  sched_yield();
}

void wait_policy::sleep(const bell& door,
                        std::uint32_t rings,
                        const wait_bounds& bounds,
                        duration at_most) const {
  const auto slice = std::min<std::chrono::nanoseconds>(at_most, settings_.slice_max);
  if (bounds.stop == nullptr) {
    futex::wait(door.rings_, rings, slice);
    return;
  }
  const auto& fence_word = bounds.stop->word();
  const auto raised_to = fence_word.load(std::memory_order_seq_cst);
  if (raised_to <= bounds.mine.value) {
    futex::wait_two(door.rings_, rings, fence_word, raised_to, slice);
  }
}

void arrival_predictor::observe(time_point start, time_point end) noexcept {
  const auto interval = std::max(end - start, duration{0});
  // Weight 1/8: follows a change of batch size within a dozen steps.
  smoothed_ = smoothed_.count() == 0 ? interval : smoothed_ + (interval - smoothed_) / 8;
}

time_point arrival_predictor::expected_at(time_point start) const noexcept {
  return smoothed_.count() == 0 ? time_point{} : start + smoothed_ / 10 * 9;
}

} // namespace vdist::frame
