// vdist/embedding/event_thread.hpp — the thread of an engine that calls back and resumes coroutines. It starts with the first
// stream that wants it, so that who reads in a loop pays nothing.
//
// E-1 A stream is served by one thread only; what it serves is kept alive meanwhile.
// E-2 After stop() the queue is emptied, then the thread ends; what is added later is not served.
// Any thread may call everything. Order of locks: a stream's, then this.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

namespace vdist::embedding {

class stream_state;

using steady_time = std::chrono::steady_clock::time_point;

class event_thread : public std::enable_shared_from_this<event_thread> {
public:
  /// Runs, or has been stopped. False: the system gives no thread.
  [[nodiscard]] bool start();

  /// Calls stream.serve() soon.
  void add(std::shared_ptr<stream_state> stream);

  /// … also at `deadline`, if nobody calls forget() with the same before.
  void watch(steady_time deadline, stream_state& stream);
  void forget(steady_time deadline, stream_state& stream);

  void stop();
  /// Blocks until the thread has ended, after stop().
  void wait_until_ended();
  [[nodiscard]] bool is_this_thread() const;

private:
  void run();
  [[nodiscard]] std::shared_ptr<stream_state> next();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<stream_state>> queue_;           // guarded by mutex_, as all below
  std::set<std::pair<steady_time, stream_state*>> deadlines_; // forgotten before the stream ends
  bool is_stopped_ = false;
  bool is_running_ = false;
  std::thread::id id_;
};

} // namespace vdist::embedding
