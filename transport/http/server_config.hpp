// transport/http/server_config.hpp — everything that can be set about an HTTP server, with units and
// defaults. Nothing here is read from the environment; who starts a server fills it in.
#pragma once

#include "transport/http/message.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace vdist::http {

/// What one client may use up. Each bound is hard.
struct limits {
  std::size_t header_bytes_max = std::size_t{32} << 10U; // request line and headers; beyond: 431
  std::size_t headers_max = 100;                         // beyond: 431
  std::size_t target_bytes_max = std::size_t{8} << 10U;  // beyond: 414
  std::size_t body_bytes_max = std::size_t{8} << 20U;    // of one request; beyond: 413
  std::size_t bodies_bytes_max = std::size_t{1} << 30U;  // of all requests in memory; 503
  std::size_t chunk_line_bytes_max = 256; // size and extensions of a chunk; beyond: 400
  std::size_t trailer_bytes_max = std::size_t{8} << 10U;     // beyond: 431
  std::size_t read_ahead_bytes_max = std::size_t{16} << 10U; // pipelined, beside one read
  std::size_t connections_max = 16384;                       // beyond: 503 and closed
  /// An exchange accepts a write while less than this waits to be sent (E-3) …
  std::size_t output_high_bytes = std::size_t{256} << 10U;
  /// … and reports on_drained() when no more than this is left.
  std::size_t output_low_bytes = std::size_t{64} << 10U;
  /// The kernel's send buffer of a connection; 0 leaves it to the kernel, which then keeps up to
  /// net.ipv4.tcp_wmem[2] for a slow reader, besides output_high_bytes.
  std::size_t send_buffer_bytes = 0;
};

/// How long a client may take. None of them stops a handler that computes.
struct patience {
  std::chrono::milliseconds handshake{10'000}; // TLS
  std::chrono::milliseconds idle{75'000};      // without a byte of a next request
  std::chrono::milliseconds header{10'000};    // from the first byte to the empty line; then 408
  std::chrono::milliseconds body{30'000};      // from the empty line, and longer by …
  std::size_t body_bytes_per_second_min = std::size_t{16} << 10U; // … what came at this rate; 408
  std::chrono::milliseconds write{30'000}; // a reader that takes nothing; then it has gone
  std::chrono::milliseconds linger{1'000}; // for the client's end after ours
};

/// PEM files. The chain begins with the server's certificate. TLS 1.2 and 1.3.
struct tls_files {
  std::string certificate_chain;
  std::string private_key;
};

struct server_config {
  std::string host = "127.0.0.1"; // an IPv4 or IPv6 address, or a name; "::" hears both families
  std::uint16_t port = 8000;      // 0: any free one
  std::size_t io_threads = 2;     // at least 1
  limits bounds;
  patience times;
  std::optional<tls_files> tls;
  /// Origins whose pages may read answers, "*" for all of them; empty: no CORS headers at all.
  std::vector<std::string> allowed_origins;
  std::string exposed_headers; // what they may read besides the usual, separated by commas
  /// Makes the answer to a request that the handler does not see. Called on io threads, must not
  /// block. The status stays that of the refusal. Empty: one line of text.
  std::function<response(const refusal&)> error_answer;
};

} // namespace vdist::http
