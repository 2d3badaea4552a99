// actors/system/lane_threads.hpp — owns the threads of all lanes. An actor that dies cannot wait for its thread, so the
// thread belongs to the system: started here, joined here, at the latest when the system ends.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace vdist::actors {

class lane_threads {
public:
  lane_threads() = default;
  ~lane_threads(); // waits for all; the lanes must have been told to stop
  lane_threads(const lane_threads&) = delete;
  lane_threads& operator=(const lane_threads&) = delete;

  /// Runs `body` on a new thread named `name` (15 characters at most are kept). Joins threads that
  /// have ended. Any thread.
  void start(const std::string& name, std::function<void()> body);

  /// Threads that have not ended.
  [[nodiscard]] std::size_t running() const;

private:
  struct lane {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> has_ended;
  };

  void reap();

  mutable std::mutex mutex_;
  std::list<lane> lanes_; // guarded by mutex_
};

} // namespace vdist::actors
