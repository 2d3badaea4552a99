#include "actors/front_door/work_pool.hpp"

#include "runtime/base/log.hpp"

#include <exception>
#include <fmt/format.h>
#include <pthread.h>
#include <utility>

namespace vdist::actors {

work_pool::work_pool(std::string_view name, std::size_t threads, std::size_t queue_max)
    : queue_max_(queue_max) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { run(); });
    ::pthread_setname_np(threads_.back().native_handle(), fmt::format("{}-{}", name, i).c_str());
  }
}

work_pool::~work_pool() {
  stop();
}

bool work_pool::try_add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (is_stopped_ || waiting_.size() >= queue_max_) {
      return false;
    }
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void work_pool::stop() {
  std::deque<std::function<void()>> dropped;
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    dropped.swap(waiting_);
  }
  changed_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) {
      thread.join();
    }
  }
}

void work_pool::run() {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      // No deadline: stop() is what ends an idle pool.
      changed_.wait(lock, [this] { return is_stopped_ || !waiting_.empty(); });
      if (is_stopped_) {
        return;
      }
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    try {
      work();
    } catch (const std::exception& cause) {
      log::error("front door: exception in a request's work (what={})", cause.what());
    }
  }
}

} // namespace vdist::actors
