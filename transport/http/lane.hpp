// transport/http/lane.hpp — one io thread: an event loop, the connections that live on it, and a queue
// of those that a producer woke. Internal to transport/http.
// L-1 everything of a connection happens on its lane's thread; other threads only call make_ready() and
// post(). L-2 any number of wake-ups costs one turn of the event loop. L-3 finish() returns when every
// connection has ended and nothing is queued.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <array>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vdist::http {

class connection;

/// Bytes that one read may bring; shared by all connections of a lane.
inline constexpr std::size_t read_bytes_max = std::size_t{64} << 10U;

class lane {
public:
  using io_context = boost::asio::io_context;

  lane();
  lane(const lane&) = delete;
  lane& operator=(const lane&) = delete;
  /// The thread must have ended (finish()), or never begun.
  ~lane();

  /// Starts the thread. Throws std::system_error when there is none.
  void start(const std::string& name);

  /// Any thread. The connection's woken() runs on the lane.
  void make_ready(std::shared_ptr<connection> woken);

  /// Any thread: `call` runs on the lane.
  template <class F>
  void post(F&& call) {
    boost::asio::post(context_, std::forward<F>(call));
  }

  /// Ends all connections and then the thread. Not from the lane itself.
  void finish();

  // On the lane only:
  /// Keeps a connection until remove(). False when the lane is ending.
  [[nodiscard]] bool add(std::shared_ptr<connection> one);
  void remove(const connection* one);
  void drain();

  [[nodiscard]] std::span<char> scratch() noexcept { return scratch_; }

  [[nodiscard]] io_context& context() noexcept { return context_; }

private:
  void run() noexcept;
  void wake_ready();
  void close_all();
  [[nodiscard]] std::vector<std::shared_ptr<connection>> connections() const;

  io_context context_{1}; // one thread runs it
  boost::asio::executor_work_guard<io_context::executor_type> work_;
  std::unordered_map<const connection*, std::shared_ptr<connection>> connections_;
  std::array<char, read_bytes_max> scratch_{};
  bool is_ending_ = false;

  std::mutex mutex_;
  std::vector<std::shared_ptr<connection>> ready_; // under mutex_

  std::thread thread_;
};

} // namespace vdist::http
