#include "transport/http/lane.hpp"

#include "transport/http/connection.hpp"

#include "runtime/base/log.hpp"

#include <exception>
#include <pthread.h>

namespace vdist::http {

lane::lane() : work_(boost::asio::make_work_guard(context_)) {}

lane::~lane() = default;

void lane::start(const std::string& name) {
  thread_ = std::thread([this] { run(); });
  ::pthread_setname_np(thread_.native_handle(), name.c_str());
}

void lane::run() noexcept {
  for (;;) {
    try {
      context_.run();
      return;
    } catch (const std::exception& cause) { // a lack of memory; the loop goes on with what is left
      log::error("http: exception in an io thread (what={})", cause.what());
    }
  }
}

void lane::make_ready(std::shared_ptr<connection> woken) {
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    is_first = ready_.empty();
    ready_.push_back(std::move(woken));
  }
  if (is_first) {
    post([this] { wake_ready(); });
  }
}

void lane::wake_ready() {
  std::vector<std::shared_ptr<connection>> woken;
  {
    const std::lock_guard lock(mutex_);
    woken.swap(ready_);
  }
  for (const auto& one : woken) {
    one->woken();
  }
}

bool lane::add(std::shared_ptr<connection> one) {
  if (!is_ending_) {
    const auto* key = one.get();
    connections_.emplace(key, std::move(one));
  }
  return !is_ending_;
}

void lane::remove(const connection* one) {
  connections_.erase(one);
}

/// A copy: those that end remove themselves meanwhile.
std::vector<std::shared_ptr<connection>> lane::connections() const {
  std::vector<std::shared_ptr<connection>> all;
  all.reserve(connections_.size());
  for (const auto& [key, one] : connections_) {
    all.push_back(one);
  }
  return all;
}

void lane::drain() {
  for (const auto& one : connections()) {
    one->drain();
  }
}

void lane::close_all() {
  is_ending_ = true;
  for (const auto& one : connections()) {
    one->close();
  }
}

void lane::finish() {
  if (!thread_.joinable()) {
    return;
  }
  post([this] { close_all(); });
  work_.reset();
  thread_.join();
}

} // namespace vdist::http
