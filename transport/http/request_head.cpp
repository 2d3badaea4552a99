#include "transport/http/request_head.hpp"

#include "transport/http/token.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

namespace vdist::http {

namespace {

namespace beast = boost::beast;
using error_code = beast::error_code;

constexpr refusal bad_request_line{400, "the request line is malformed"};
constexpr refusal bad_target{400, "the request target is malformed"};
constexpr refusal bad_headers{400, "a header is malformed"};
constexpr refusal bad_length{400, "content-length is malformed or given twice"};
constexpr refusal two_lengths{400, "transfer-encoding and content-length exclude each other"};
constexpr refusal coding_of_1_0{400, "HTTP/1.0 has no transfer-encoding"};
constexpr refusal bad_host{400, "exactly one host header is required"};
constexpr refusal unknown_version{505, "only HTTP/1.0 and HTTP/1.1 are spoken"};
constexpr refusal unknown_coding{501, "the only transfer-encoding is chunked"};
constexpr refusal no_tunnel{501, "CONNECT is not served"};
constexpr refusal unknown_expectation{417, "the only expectation is 100-continue"};
constexpr refusal target_too_long{414, "the request target is too long"};
constexpr refusal too_many_headers{431, "there are too many headers"};
constexpr refusal body_too_large{413, "the body is too large"};

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

/// Collects what Beast reports; its own refusals go before Beast's.
class head_parser final : public beast::http::basic_parser<true> {
public:
  head_parser(const limits& bounds, request_head& into) : bounds_(&bounds), into_(&into) {
    eager(false);                                            // the head only
    header_limit(std::numeric_limits<std::uint32_t>::max()); // the reader has bounded it
    body_limit(std::numeric_limits<std::uint64_t>::max());   // bounded by finish()
  }

  [[nodiscard]] std::optional<refusal> parse(std::string_view bytes) {
    error_code failure;
    const auto used = put({bytes.data(), bytes.size()}, failure);
    if (refused_) {
      return refused_;
    }
    if (failure) {
      return refusal_of(failure, bytes);
    }
    if (used != bytes.size() || !is_header_done()) {
      return bad_headers; // an empty line that Beast took for something else
    }
    return finish();
  }

private:
  void on_request_impl(beast::http::verb /*verb*/,
                       beast::string_view method,
                       beast::string_view target,
                       int version,
                       error_code& failure) override {
    into_->asked.method = view(method);
    into_->is_http_1_0 = version == 10;
    refused_ = take_target(view(target));
    if (refused_) {
      failure = beast::http::error::bad_target;
    }
  }

  void on_response_impl(int, beast::string_view, int, error_code&) override {}

  void on_field_impl(beast::http::field field,
                     beast::string_view name,
                     beast::string_view value,
                     error_code& failure) override {
    refused_ = take_field(field, view(value));
    if (!refused_ && into_->asked.headers.size() >= bounds_->headers_max) {
      refused_ = too_many_headers;
    }
    if (refused_) {
      failure = beast::http::error::bad_field;
      return;
    }
    header taken{std::string(view(name)), std::string(view(value))};
    std::transform(taken.name.begin(), taken.name.end(), taken.name.begin(), lower);
    into_->asked.headers.push_back(std::move(taken));
  }

  void on_header_impl(error_code&) override {}

  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}

  std::size_t on_body_impl(beast::string_view, error_code&) override { return 0; }

  void on_chunk_header_impl(std::uint64_t, beast::string_view, error_code&) override {}

  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view, error_code&) override {
    return 0;
  }

  void on_finish_impl(error_code&) override {}

  ///
  std::optional<refusal> take_target(std::string_view target) {
    auto& asked = into_->asked;
    if (target.size() > bounds_->target_bytes_max) {
      return target_too_long;
    }
    if (asked.method == "CONNECT") {
      return no_tunnel;
    }
    if (std::any_of(
            target.begin(), target.end(), [](char c) { return c <= ' ' || c > '~' || c == '#'; })) {
      return bad_target;
    }
    if (target == "*") {
      asked.path = target;
      return asked.method == "OPTIONS" ? std::nullopt : std::optional(bad_target);
    }
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (target.size() > scheme.size() && is_same_word(target.substr(0, scheme.size()), scheme)) {
        const auto path = target.find_first_of("/?", scheme.size());
        if (path == scheme.size()) {
          return bad_target; // no authority
        }
        target.remove_prefix(std::min(path, target.size()));
        if (!target.starts_with('/')) {
          asked.path = "/";
          asked.query = target.empty() ? target : target.substr(1);
          return std::nullopt;
        }
        break;
      }
    }
    if (!target.starts_with('/')) {
      return bad_target;
    }
    const auto mark = target.find('?');
    asked.path = target.substr(0, mark);
    asked.query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    return std::nullopt;
  }

  ///
  std::optional<refusal> take_field(beast::http::field name, std::string_view value) {
    using beast::http::field;
    switch (name) {
    case field::content_length:
      // Beast takes "5, 5" and the same length twice.
      return ++lengths_ == 1 && is_number(value) ? std::nullopt : std::optional(bad_length);
    case field::transfer_encoding:
      // Beast takes any list, and none of it for no body.
      if (into_->is_http_1_0) {
        return coding_of_1_0;
      }
      return is_same_word(value, "chunked") ? std::nullopt : std::optional(unknown_coding);
    case field::host:
      return ++hosts_ == 1 ? std::nullopt : std::optional(bad_host);
    case field::expect:
      into_->expects_continue = !into_->is_http_1_0;
      return into_->is_http_1_0 || is_same_word(value, "100-continue")
                 ? std::nullopt
                 : std::optional(unknown_expectation);
    default:
      return std::nullopt;
    }
  }

  static bool is_number(std::string_view value) {
    return !value.empty()
           && std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  std::optional<refusal> finish() {
    if (hosts_ == 0 && !into_->is_http_1_0) {
      return bad_host;
    }
    into_->keeps_alive = keep_alive();
    if (chunked()) {
      into_->framing = request_head::body_framing::chunked;
    } else if (lengths_ > 0) {
      into_->framing = request_head::body_framing::length;
      into_->body_bytes = content_length().value_or(0);
      if (into_->body_bytes > bounds_->body_bytes_max) {
        return body_too_large;
      }
    }
    return std::nullopt;
  }

  static refusal refusal_of(error_code failure, std::string_view bytes) {
    using beast::http::error;
    if (failure == error::bad_version) {
      // "HTTP/2.0" is a version, "HTTP/x" and the second word of a target are none.
      const auto line = bytes.substr(0, bytes.find('\r'));
      const auto text = line.substr(std::min(line.rfind(' '), line.size()));
      const bool is_version = std::count(line.begin(), line.end(), ' ') == 2 && text.size() == 9
                              && text.starts_with(" HTTP/") && text[7] == '.'
                              && is_number(text.substr(6, 1)) && is_number(text.substr(8, 1));
      return is_version ? unknown_version : bad_request_line;
    }
    if (failure == error::bad_method) {
      return bad_request_line;
    }
    if (failure == error::bad_target) {
      return bad_target;
    }
    if (failure == error::bad_content_length) {
      return bad_length;
    }
    return failure == error::bad_transfer_encoding ? two_lengths : bad_headers;
  }

  const limits* bounds_;
  request_head* into_;
  std::optional<refusal> refused_;
  int lengths_ = 0; // headers
  int hosts_ = 0;
};

} // namespace

std::optional<refusal>
parse_head(std::string_view bytes, const limits& bounds, request_head& into) {
  head_parser parser(bounds, into);
  return parser.parse(bytes);
}

} // namespace vdist::http
