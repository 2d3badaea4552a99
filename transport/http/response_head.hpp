// transport/http/response_head.hpp — the status line and the headers of an answer, as bytes. Internal
// to transport/http. M-2 of message.hpp is kept here. Functions, any thread.
#pragma once

#include "transport/http/message.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::http {

/// What an answer must know about its request and its server.
struct answer_context {
  bool is_http_1_0 = false;
  bool is_head = false;       // HEAD: headers as for GET, no body
  bool keeps_alive = true;    // as the client wishes
  std::string allowed_origin; // value of Access-Control-Allow-Origin; empty: none
  /// With it, if not empty. Borrowed of the configuration, as long as the service is.
  std::string_view exposed_headers = {};
};

enum class body_form {
  length,      // Content-Length
  chunked,     // HTTP/1.1 streams
  until_close, // HTTP/1.0 streams
};

/// Whether an answer may carry it.
[[nodiscard]] bool is_legal(const header& one) noexcept;

/// Whether there is a body at all: not with 204 and 304.
[[nodiscard]] bool has_body(int status) noexcept;

/// Appends the head, empty line included. `keeps_alive` is the server's decision.
void append_head(std::string& out,
                 int status,
                 std::span<const header> headers,
                 const answer_context& context,
                 body_form form,
                 std::uint64_t body_bytes,
                 bool keeps_alive);

/// Appends a whole answer.
void append_answer(std::string& out,
                   const response& answer,
                   const answer_context& context,
                   bool keeps_alive);

/// One line of text, for refusals when nobody else makes their answers.
[[nodiscard]] response plain_error(const refusal& cause);

/// What Access-Control-Allow-Origin says to `origin`; empty if it is not among those allowed.
[[nodiscard]] std::string_view allowed_for(std::string_view origin,
                                           std::span<const std::string> allowed) noexcept;

/// Whether it asks for leave of a request from another origin (CORS preflight).
[[nodiscard]] bool is_preflight(const request& asked) noexcept;

/// The leave: any method and header that was asked for.
[[nodiscard]] response preflight_answer(const request& asked);

} // namespace vdist::http
