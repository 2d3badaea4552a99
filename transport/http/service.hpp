// transport/http/service.hpp — what the connections and exchanges of one server share. Internal to
// transport/http. Owned by all of them, since exchanges outlive their server.
// Any thread: constant, or atomic.
#pragma once

#include "transport/http/response_head.hpp"
#include "transport/http/server_config.hpp"
#include "transport/http/statistics.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace vdist::http {

struct service {
  explicit service(server_config settings) : config(std::move(settings)) {}

  /// The answer to what the handler does not see, counted.
  [[nodiscard]] response answer_to(const refusal& cause, refused_by reason);

  /// A connection has ended.
  void connection_closed();

  const server_config config;
  counters counts;
  std::mutex closing;
  std::condition_variable closed;           // with `closing`: connections_open has fallen
  std::atomic<bool> is_draining{false};     // answers close their connections
  std::atomic<std::size_t> bodies_bytes{0}; // of all requests in memory (limits::bodies_bytes_max)
};

} // namespace vdist::http
