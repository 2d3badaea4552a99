// actors/system/slot_marks.hpp — slots of a replica that somebody has marked, until somebody else has seen it.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>

namespace vdist::actors {

/// Thread-safe.
class slot_marks {
public:
  void add(std::int32_t slot) {
    const std::lock_guard lock(mutex_);
    slots_.insert(slot);
  }

  /// Whether it was marked; it is not any more.
  bool take(std::int32_t slot) {
    const std::lock_guard lock(mutex_);
    return slots_.erase(slot) > 0;
  }

private:
  std::mutex mutex_;
  std::set<std::int32_t> slots_; // guarded by mutex_
};

} // namespace vdist::actors
