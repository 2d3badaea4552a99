// transport/http/message.hpp — what an HTTP request and its answer are for those who serve them:
// plain values, no sockets. A request that a handler sees is complete, well-formed and within the
// limits; an answer is checked before it is sent (M-2).
// M-1 names of headers are lower case, values have no white space around them. M-2 an answer never
// carries a header that the server owns or that could end a line early: it becomes a 500.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::http {

struct header {
  std::string name;
  std::string value;

  friend bool operator==(const header&, const header&) = default;
};

struct request {
  std::string method; // as sent: methods are case-sensitive
  std::string path;   // starts with '/', not decoded; "*" only with OPTIONS
  std::string query;  // what stands behind '?', not decoded
  std::vector<header>
      headers; // in the order of the request; trailers of a chunked body are dropped
  std::string body;
  std::string peer; // address of the client, "127.0.0.1:40000" or "[::1]:40000"

  /// The first value of a header, null when there is none. `name` in lower case.
  [[nodiscard]] const std::string* find(std::string_view name) const noexcept;
};

/// Content-Length, Transfer-Encoding, Connection, Date and, with allowed origins, the CORS headers
/// are the server's.
struct response {
  int status = 200; // 200 to 599
  std::vector<header> headers;
  std::string body;
};

/// Why a request did not reach the handler, or had no answer of it: 400, 403 (origin), 408, 413, 414,
/// 417, 431, 500, 501, 503, 505.
struct refusal {
  int status = 400;
  std::string_view reason; // static text, one line; says nothing that the client did not send
};

/// Appends one server-sent event: `id`, then `data`, whose lines become one data field each.
void append_sse_event(std::string& out, std::uint64_t id, std::string_view data);

[[nodiscard]] std::string sse_event(std::uint64_t id, std::string_view data);

/// Equal, in a time that depends on the lengths only: for keys that clients send.
[[nodiscard]] bool is_same_secret(std::string_view a, std::string_view b) noexcept;

} // namespace vdist::http
