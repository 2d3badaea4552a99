// transport/http/server.hpp — an HTTP/1.1 server: accepts, parses within bounds, calls a handler with
// complete requests, sends what the handler writes. It knows nothing of what is served.
// A few io threads, each with its own event loop and its own connections: no thread per connection,
// no lock on the way of a request. Sockets are read when they are readable, so an idle connection
// holds no buffer: it costs below 4 KiB, with TLS below 32 KiB.
//
// H-1 Every request that came in completely gets exactly one answer or is told that its client has
// gone. H-2 A request that is malformed, too large, too slow or ambiguous about its own length is
// refused before the handler, and the connection closed: whoever disagrees with us on where it ends
// cannot smuggle a second one. H-3 Answers come in the order of the requests; one request of a
// connection is in work, and what is pipelined behind it is bounded. H-4 Every state of a connection
// has a deadline except a handler that computes. H-5 No client makes the server's memory grow beyond
// its limits, no want of descriptors makes it spin, no vanished client ends the process (SIGPIPE).
#pragma once

#include "transport/http/exchange.hpp"
#include "transport/http/server_config.hpp"
#include "transport/http/statistics.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vdist::http {

/// Called on an io thread for each request. Must not block: all connections of that thread wait
/// meanwhile. An exception is logged and becomes a 500.
using handler = std::function<void(std::shared_ptr<exchange>)>;

/// Whether start() could listen on config.host and config.port now. May block for the resolution of the host. Errors: those
/// of start() for the host and the port.
[[nodiscard]] result<void> check_port(const server_config& config);

class server {
public:
  /// Listens and serves. May block for the resolution of config.host.
  /// Errors: invalid_argument (a setting), not_found (host; certificate or key file), corrupt
  /// (certificate or key), resource_exhausted (the port is in use; descriptors), io_failed.
  [[nodiscard]] static result<std::unique_ptr<server>> start(server_config config, handler serve);

  server(const server&) = delete;
  server& operator=(const server&) = delete;
  /// As stop().
  ~server();

  /// The port that is listened on. Any thread.
  [[nodiscard]] std::uint16_t port() const noexcept;

  /// "127.0.0.1:8000". Any thread.
  [[nodiscard]] const std::string& address() const noexcept;

  /// Accepts nobody any more, closes idle connections, lets answers end (with `Connection: close`)
  /// until `deadline`. Blocks; not from an io thread. May be called again. Error: timed_out, then
  /// connections are left and served on.
  [[nodiscard]] result<void> drain(time_point deadline);

  /// Ends everything now: clients of unfinished answers see their connection cut, their exchanges
  /// that the client has gone. Afterwards no callback runs any more. Not from an io thread; a second
  /// call does nothing. Exchanges may outlive the server.
  void stop();

  /// Any thread.
  [[nodiscard]] statistics stats() const noexcept;

private:
  struct impl;
  explicit server(std::unique_ptr<impl> inside) noexcept;

  std::unique_ptr<impl> impl_;
};

} // namespace vdist::http
