#include "actors/front_door/live_feed.hpp"

#include "transport/http/message.hpp"

#include "runtime/base/log.hpp"

#include <exception>
#include <pthread.h>
#include <utility>

namespace vdist::actors {

live_feed::live_feed(live_feed_settings settings, producer produce, const clock& time)
    : settings_(settings), produce_(std::move(produce)), time_(time), thread_([this] { run(); }) {
  ::pthread_setname_np(thread_.native_handle(), "live");
}

live_feed::~live_feed() {
  stop();
}

bool live_feed::add(std::shared_ptr<http::exchange> with) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(watchers_, [](const watcher& one) { return one.with->is_gone(); });
    if (is_stopped_ || watchers_.size() >= settings_.watchers_max) {
      return false;
    }
    with->start_stream(200,
                       {{"content-type", "text/event-stream; charset=utf-8"},
                        {"cache-control", "no-store"},
                        {"x-accel-buffering", "no"}}); // proxies pass each event on
    watchers_.push_back({.with = std::move(with)});
    if (is_fresh()) { // P-5
      tell(watchers_.back());
    }
  }
  changed_.notify_one();
  return true;
}

void live_feed::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
  const std::lock_guard lock(mutex_);
  std::string last;
  http::append_sse_event(last, number_ + 1, end_data);
  for (const auto& one : watchers_) {
    static_cast<void>(one.with->write(last)); // who does not take it sees the end of the stream
    one.with->finish();
  }
  watchers_.clear();
}

std::size_t live_feed::watchers() const {
  const std::lock_guard lock(mutex_);
  return watchers_.size();
}

std::uint64_t live_feed::produced() const {
  const std::lock_guard lock(mutex_);
  return number_;
}

void live_feed::run() {
  std::unique_lock lock(mutex_);
  while (!is_stopped_) {
    std::erase_if(watchers_, [](const watcher& one) { return one.with->is_gone(); });
    if (watchers_.empty()) {
      changed_.wait(lock); // P-2; no deadline: add() and stop() wake it
    } else if (is_fresh()) {
      changed_.wait_for(lock, *made_at_ + settings_.interval - time_.now());
    } else {
      produce(lock);
      tell_all();
    }
  }
}

/// Lets go of the lock meanwhile. A producer that throws leaves the snapshot as it was.
void live_feed::produce(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  std::string data;
  try {
    data = produce_();
  } catch (const std::exception& cause) {
    log::error("live feed: exception in its producer (what={})", cause.what());
  }
  lock.lock();
  made_at_ = time_.now();
  if (!data.empty()) {
    event_.clear();
    http::append_sse_event(event_, ++number_, data);
  }
}

void live_feed::tell_all() {
  for (auto& one : watchers_) {
    tell(one);
  }
}

void live_feed::tell(watcher& one) const {
  // P-3, and P-5: what waits in front of the first is the head of the answer.
  const bool has_taken = one.told == 0 || one.with->backlog_bytes() == 0;
  if (one.told != number_ && has_taken
      && one.with->write(event_) == http::write_outcome::accepted) {
    one.told = number_;
  }
}

bool live_feed::is_fresh() const {
  return made_at_ && time_.now() < *made_at_ + settings_.interval;
}

} // namespace vdist::actors
