// actors/front_door/work_pool.hpp — a few threads for work that blocks or takes long, behind a queue with a bound: what
// no io thread may do.
// W-1 try_add() never waits. W-2 what waits when the pool stops is destroyed, not run.
// Any thread; stop() not from a thread of its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

namespace vdist::actors {

class work_pool {
public:
  /// `name`: of the threads, with their numbers; at most 10 characters.
  work_pool(std::string_view name, std::size_t threads, std::size_t queue_max);
  /// As stop().
  ~work_pool();
  work_pool(const work_pool&) = delete;
  work_pool& operator=(const work_pool&) = delete;

  /// False: the queue is full, or the pool has stopped. Exceptions of `work` are logged.
  [[nodiscard]] bool try_add(std::function<void()> work);

  /// Returns when the threads have ended, with what they were at.
  void stop();

private:
  void run();

  const std::size_t queue_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_; // guarded by mutex_
  bool is_stopped_ = false;                   // guarded by mutex_
  std::vector<std::thread> threads_;
};

} // namespace vdist::actors
