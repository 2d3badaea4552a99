// transport/http/request_head.hpp — the request line and the headers of one request: from bytes to
// what they mean. Internal to transport/http.
// Boost.Beast splits the lines; what it is lenient about is refused here, since a proxy in front of us
// may read it in another way and see another end of the request (request smuggling, RFC 9112 11.2):
// R-1 the length of the body is told once: one Content-Length of digits only, or one Transfer-Encoding
// that is `chunked`, never both, and no transfer coding in HTTP/1.0. R-2 HTTP/1.1 has one Host, no
// request has two. R-3 the target is visible ASCII: a path, an absolute URI of http(s), or `*` for
// OPTIONS. (Line ends, folded lines and sizes: request_reader.hpp.)
// Not thread-safe; a function. Cost: one pass, one allocation per header.
#pragma once

#include "transport/http/message.hpp"
#include "transport/http/server_config.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace vdist::http {

struct request_head {
  enum class body_framing { none, length, chunked };

  request asked; // without body and peer
  body_framing framing = body_framing::none;
  std::uint64_t body_bytes = 0; // of framing `length`
  bool is_http_1_0 = false;
  bool keeps_alive = false; // the client does not mean to close
  bool expects_continue = false;
};

/// Parses `bytes`, which end with the first empty line. A body that announces more than
/// body_bytes_max is refused here (413). On refusal `into` has no particular value.
[[nodiscard]] std::optional<refusal>
parse_head(std::string_view bytes, const limits& bounds, request_head& into);

} // namespace vdist::http
