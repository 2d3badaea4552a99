#include "vdist/embedding/event_thread.hpp"

#include <pthread.h>
#include <system_error>

#include "vdist/embedding/stream_state.hpp"

namespace vdist::embedding {

bool event_thread::start() {
  const std::lock_guard lock(mutex_);
  if (is_running_ || is_stopped_) {
    return true;
  }
  try {
    std::thread thread([self = shared_from_this()] { self->run(); });
    ::pthread_setname_np(thread.native_handle(), "vdist-events");
    id_ = thread.get_id();
    thread
        .detach(); // wait_until_ended() is the join, which a stuck callback must not block for ever
  } catch (const std::system_error&) {
    return false;
  }
  is_running_ = true;
  return true;
}

void event_thread::add(std::shared_ptr<stream_state> stream) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_running_) { // not yet or no more
      return;
    }
    queue_.push_back(std::move(stream));
  }
  changed_.notify_all();
}

void event_thread::watch(steady_time deadline, stream_state& stream) {
  {
    const std::lock_guard lock(mutex_);
    deadlines_.emplace(deadline, &stream);
  }
  changed_.notify_all();
}

void event_thread::forget(steady_time deadline, stream_state& stream) {
  const std::lock_guard lock(mutex_);
  deadlines_.erase({deadline, &stream});
}

void event_thread::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_all();
}

void event_thread::wait_until_ended() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_stopped_ && !is_running_; });
}

bool event_thread::is_this_thread() const {
  const std::lock_guard lock(mutex_);
  return is_running_ && id_ == std::this_thread::get_id();
}

/// Blocks until somebody is to be served; null: the end.
std::shared_ptr<stream_state> event_thread::next() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!queue_.empty()) {
      auto first = std::move(queue_.front());
      queue_.pop_front();
      return first;
    }
    if (is_stopped_) {
      is_running_ = false; // under the same lock: nothing is added behind the last look
      return nullptr;
    }
    if (deadlines_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto [deadline, stream] = *deadlines_.begin();
    if (std::chrono::steady_clock::now() < deadline) {
      changed_.wait_until(lock, deadline);
      continue;
    }
    deadlines_.erase(deadlines_.begin());
    if (auto due = stream->weak_from_this().lock()) { // it lives: its destructor forgets first
      queue_.push_back(std::move(due));
    }
  }
}

void event_thread::run() {
  while (const auto stream = next()) {
    stream->serve();
  }
  changed_.notify_all();
}

} // namespace vdist::embedding
