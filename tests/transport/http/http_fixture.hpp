// tests/transport/http/http_fixture.hpp — a server on a free port of the loopback, whose handler answers
// /echo itself and hands every other exchange to the test.
#pragma once

#include "tests/transport/http/http_client.hpp"

#include "transport/http/server.hpp"

#include <boost/test/unit_test.hpp>

#include <condition_variable>
#include <deque>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <unistd.h>

namespace vdist::testing {

using exchange_ptr = std::shared_ptr<http::exchange>;

/// Memory of this process that is in use.
inline std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// What sanitizers keep beside every byte.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t memory_factor = 16;
#else
inline constexpr std::size_t memory_factor = 1;
#endif

/// An event that happened, and how often.
class tally {
public:
  void add() {
    const std::lock_guard lock(mutex_); // also while it notifies: whoever waits may end this object
    ++count_;
    changed_.notify_all();
  }

  /// Waits until it happened at least so often.
  bool reaches(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [this, count] { return count_ >= count; });
  }

  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

/// Exchanges that wait for the test.
class exchange_box {
public:
  void put(exchange_ptr one) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(one));
    }
    changed_.notify_all();
  }

  exchange_ptr take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [this] { return !waiting_.empty(); })) {
      throw std::runtime_error("no request came");
    }
    auto one = std::move(waiting_.front());
    waiting_.pop_front();
    return one;
  }

  bool is_empty() {
    const std::lock_guard lock(mutex_);
    return waiting_.empty();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<exchange_ptr> waiting_;
};

inline http::server_config loopback() {
  http::server_config config;
  config.port = 0;
  config.times.handshake = config.times.idle = config.times.header = config.times.body =
      config.times.write = config.times.linger = patience; // no deadline but a test's own
  return config;
}

class http_fixture {
public:
  explicit http_fixture(http::server_config config = loopback()) {
    auto started = http::server::start(std::move(config), [this](exchange_ptr one) { serve(one); });
    if (!started) {
      throw std::runtime_error(started.error().context);
    }
    server_ = std::move(started).value();
  }

  [[nodiscard]] http_client connect(int receive_buffer_bytes = 0) const {
    return http_client(server_->port(), receive_buffer_bytes);
  }

  /// The next request that the test answers itself.
  exchange_ptr next() { return box_.take(); }

  bool has_request() { return !box_.is_empty(); }

  [[nodiscard]] http::server& server() { return *server_; }

  [[nodiscard]] http::statistics stats() const { return server_->stats(); }

private:
  void serve(const exchange_ptr& one) {
    const auto& asked = one->request();
    if (asked.path == "/echo") {
      one->reply({.headers = {{"X-Method", asked.method}}, .body = asked.query + asked.body});
    } else if (asked.path == "/throw") {
      throw std::runtime_error("a handler's defect");
    } else if (asked.path != "/drop") {
      box_.put(one);
    }
  }

  exchange_box box_;
  std::unique_ptr<http::server> server_; // ends first
};

} // namespace vdist::testing
