#include "actors/front_door/delivery_lane.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <exception>
#include <limits>
#include <pthread.h>
#include <utility>

namespace vdist::actors {

void cancel_unless_ended(text_stream& stream) {
  const auto rest = stream.take(std::numeric_limits<std::ptrdiff_t>::max());
  const bool has_ended = !rest || (*rest && (*rest)->reason != protocol::finish_reason::none);
  if (!has_ended) {
    stream.cancel();
  }
}

delivery_lane::delivery_lane(const clock& time) : time_(time), thread_([this] { run(); }) {
  ::pthread_setname_np(thread_.native_handle(), "delivery");
}

delivery_lane::~delivery_lane() {
  stop();
}

void delivery_lane::add(std::shared_ptr<deliverable> answer) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_stopped_) {
      alive_.insert(answer);
    }
  }
  wake(answer);
}

void delivery_lane::wake(const std::shared_ptr<deliverable>& answer) {
  {
    const std::lock_guard lock(mutex_);
    if (answer->is_waiting_ || !alive_.contains(answer)) {
      return;
    }
    answer->is_waiting_ = true;
    waiting_.push_back(answer);
  }
  changed_.notify_one();
}

void delivery_lane::keep(std::vector<std::shared_ptr<text_stream>> streams, duration time) {
  const std::lock_guard lock(mutex_);
  kept_.push_back({time_.now() + time, std::move(streams)});
  changed_.notify_one();
}

std::size_t delivery_lane::size() const {
  const std::lock_guard lock(mutex_);
  return alive_.size();
}

void delivery_lane::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
  std::unordered_set<std::shared_ptr<deliverable>> dropped;
  std::vector<kept> left;
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(alive_);
    left.swap(kept_);
    waiting_.clear();
  }
  for (const auto& answer : dropped) {
    answer->drop();
  }
  for (const auto& one : left) {
    std::for_each(one.streams.begin(), one.streams.end(), [](const auto& stream) {
      cancel_unless_ended(*stream);
    });
  }
}

void delivery_lane::run() {
  std::unique_lock lock(mutex_);
  while (!is_stopped_) {
    if (cancel_overdue(lock)) {
      continue; // it let go of the lock
    }
    if (!waiting_.empty()) {
      const auto answer = std::move(waiting_.front());
      waiting_.pop_front();
      answer->is_waiting_ = false; // before it is carried (L-1)
      lock.unlock();
      carry(answer);
      lock.lock();
      continue;
    }
    const auto next = std::min_element(
        kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.until < b.until; });
    if (next == kept_.end()) {
      changed_.wait(lock); // no deadline: who has something wakes it, and so does stop()
    } else {
      changed_.wait_for(lock, next->until - time_.now());
    }
  }
}

void delivery_lane::carry(const std::shared_ptr<deliverable>& answer) {
  bool is_over = true;
  try {
    is_over = answer->deliver();
  } catch (const std::exception& cause) {
    log::error("front door: exception in an answer (what={})", cause.what());
    answer->drop();
  }
  if (is_over) {
    const std::lock_guard lock(mutex_);
    alive_.erase(answer);
  }
}

bool delivery_lane::cancel_overdue(std::unique_lock<std::mutex>& lock) {
  const auto now = time_.now();
  const auto first = std::partition(
      kept_.begin(), kept_.end(), [now](const auto& one) { return one.until > now; });
  if (first == kept_.end()) {
    return false;
  }
  const std::vector<kept> overdue(std::make_move_iterator(first),
                                  std::make_move_iterator(kept_.end()));
  kept_.erase(first, kept_.end());
  lock.unlock();
  for (const auto& one : overdue) {
    for (const auto& stream : one.streams) {
      cancel_unless_ended(*stream);
    }
  }
  lock.lock();
  return true;
}

} // namespace vdist::actors
