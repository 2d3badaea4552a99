#include "transport/tensor/fence_watch.hpp"

#include <utility>

namespace vdist::tensor {

fence_watch::fence_watch(const frame::wait_policy& waits,
                         const frame::fence& stop,
                         epoch mine,
                         std::function<void()> on_raised)
    : thread_([this, waits, &stop, mine, on_raised = std::move(on_raised)] {
        // No deadline: the destructor ends this wait.
        const frame::wait_bounds bounds{
            .deadline = time_point::max(), .stop = &stop, .mine = mine, .expected_at = {}};
        const auto is_over = [this] {
          return is_over_.load(std::memory_order_acquire);
        };
        if (waits.wait(door_, is_over, bounds) == frame::wait_status::aborted) {
          on_raised();
        }
      }) {}

fence_watch::~fence_watch() {
  is_over_.store(true, std::memory_order_release);
  door_.ring();
  thread_.join();
}

} // namespace vdist::tensor
