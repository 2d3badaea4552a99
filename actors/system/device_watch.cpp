#include "actors/system/device_watch.hpp"

#include "runtime/base/log.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <utility>

namespace vdist::actors {

device_watch::device_watch(device_watch_config config, device_event_counts& counts)
    : config_(std::move(config)), counts_(counts), thread_([this] { run(); }) {}

device_watch::~device_watch() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void device_watch::run() {
  pthread_setname_np(pthread_self(), "devices");
  bool is_over = false;
  while (!is_over) {
    kernels::device_event event;
    const bool has_heard = config_.next(slice, event);
    if (has_heard) {
      take(event);
    }
    std::unique_lock lock(mutex_);
    is_over = changed_.wait_for(
        lock, has_heard ? std::chrono::milliseconds(0) : pause, [this] { return is_over_; });
  }
}

void device_watch::take(const kernels::device_event& event) {
  const auto what = kernels::class_of_xid(event.xid);
  metrics::count(counts_.at(static_cast<std::size_t>(what)));
  log::warn(
      "device {}: the driver reports Xid {} (class={})", event.device, event.xid, to_string(what));
  const auto bit = std::uint64_t{1} << (static_cast<unsigned>(event.device) % 64U);
  if (what == kernels::fault_class::device && (lost_ & bit) == 0) {
    lost_ |= bit;
    config_.on_lost(event.device,
                    fmt::format("device {} must not be used any more: the driver reports Xid {}",
                                event.device,
                                event.xid));
  }
}

} // namespace vdist::actors
