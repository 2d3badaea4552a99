// actors/system/load_meter.hpp — sums the loading of all ranks up. Thread-safe; reports one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace vdist::actors {

class load_meter {
public:
  /// `report` gets the sums; may be empty.
  load_meter(std::size_t ranks, std::function<void(std::uint64_t done, std::uint64_t total)> report)
      : done_(ranks), total_(ranks), report_(std::move(report)) {}

  void set(std::size_t rank, std::uint64_t done, std::uint64_t total) {
    const std::lock_guard lock(mutex_);
    done_[rank] = done;
    total_[rank] = total;
    if (report_) {
      report_(std::accumulate(done_.begin(), done_.end(), std::uint64_t{0}),
              std::accumulate(total_.begin(), total_.end(), std::uint64_t{0}));
    }
  }

  /// Nobody listens any more: a worker that is replaced later loads in silence.
  void close() {
    const std::lock_guard lock(mutex_);
    report_ = nullptr;
  }

private:
  std::mutex mutex_;
  std::vector<std::uint64_t> done_;
  std::vector<std::uint64_t> total_;
  std::function<void(std::uint64_t, std::uint64_t)> report_;
};

} // namespace vdist::actors
