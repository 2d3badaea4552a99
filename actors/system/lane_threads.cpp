#include "actors/system/lane_threads.hpp"

#include <algorithm>
#include <pthread.h>
#include <utility>

namespace vdist::actors {

lane_threads::~lane_threads() {
  for (auto& lane : lanes_) {
    lane.thread.join();
  }
}

void lane_threads::start(const std::string& name, std::function<void()> body) {
  const std::lock_guard lock(mutex_);
  reap();
  auto has_ended = std::make_shared<std::atomic<bool>>(false); // shared by the thread and its entry
  std::thread thread([name, has_ended, body = std::move(body)] {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    body();
    *has_ended = true;
  });
  lanes_.push_back({std::move(thread), std::move(has_ended)});
}

std::size_t lane_threads::running() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(
      lanes_.begin(), lanes_.end(), [](const lane& l) { return !l.has_ended->load(); }));
}

void lane_threads::reap() {
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    if (lane->has_ended->load()) {
      lane->thread.join();
      lane = lanes_.erase(lane);
    } else {
      ++lane;
    }
  }
}

} // namespace vdist::actors
