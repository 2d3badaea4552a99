// actors/system/device_watch.hpp — hears what the driver says of the GPUs of this cluster ("Xid"), in the control process,
// which outlives the workers that it is about.
//
// X-1 Everything that is said is logged and counted by what it means (kernels/device_fault.hpp). Only a device that must not be
//     used any more has consequences: whoever owns the watch is told once for each. What broke off the work of one process is
//     that worker's own affair; it has seen it before.
// X-2 Without the driver's management library nothing is heard, and nothing is said of that.
// One thread, which sleeps in the driver. Thread-safe counts.
#pragma once

#include "runtime/metrics/counter.hpp"

#include "kernels/device_fault.hpp"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace vdist::actors {

struct device_watch_config {
  /// Waits for the next event; false: none within the time. Called on the thread of the watch.
  std::function<bool(std::chrono::milliseconds, kernels::device_event&)> next;
  /// On the thread of the watch; must not block.
  std::function<void(std::int32_t device, const std::string& reason)> on_lost;
};

/// By fault_class.
using device_event_counts = std::array<metrics::counter, 4>;

class device_watch {
public:
  /// Longest wait of its thread, and so of the destructor.
  static constexpr std::chrono::milliseconds slice{200};
  /// Behind a wait that brought nothing, and may have ended at once. Events that come meanwhile are kept by the driver.
  static constexpr std::chrono::milliseconds pause{20};

  /// `counts` outlives it.
  device_watch(device_watch_config config, device_event_counts& counts);
  ~device_watch();
  device_watch(const device_watch&) = delete;
  device_watch& operator=(const device_watch&) = delete;

private:
  void run();
  void take(const kernels::device_event& event);

  const device_watch_config config_;
  device_event_counts& counts_;
  std::uint64_t lost_ = 0; // devices that were told of, as bits
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_over_ = false; // guarded by mutex_
  std::thread thread_;
};

} // namespace vdist::actors
