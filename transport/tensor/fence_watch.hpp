// transport/tensor/fence_watch.hpp — calls back when a fence is raised above an epoch, for waits that
// cannot watch the fence themselves: because a library makes them, or because a device does.
// One thread per object, asleep until the fence is raised or the object ends; the destructor joins
// it.
#pragma once

#include "transport/frame/wait_policy.hpp"

#include <atomic>
#include <functional>
#include <thread>

namespace vdist::tensor {

class fence_watch {
public:
  /// `stop` is borrowed. `on_raised` is called at most once, by the object's own thread.
  fence_watch(const frame::wait_policy& waits,
              const frame::fence& stop,
              epoch mine,
              std::function<void()> on_raised);
  ~fence_watch();
  fence_watch(const fence_watch&) = delete;
  fence_watch& operator=(const fence_watch&) = delete;

private:
  std::atomic<bool> is_over_{false};
  frame::bell door_;
  std::thread thread_;
};

} // namespace vdist::tensor
