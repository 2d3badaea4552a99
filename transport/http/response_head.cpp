#include "transport/http/response_head.hpp"

#include "transport/http/token.hpp"

#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>
#include <iterator>

namespace vdist::http {

namespace {

/// Set by the server alone; lower case.
constexpr std::array<std::string_view, 8> server_owned{"content-length",
                                                       "transfer-encoding",
                                                       "connection",
                                                       "keep-alive",
                                                       "upgrade",
                                                       "date",
                                                       "access-control-allow-origin",
                                                       "trailer"};

/// RFC 9110 5.6.7, without the locale that strftime has.
void append_date(std::string& out) {
  constexpr std::array<std::string_view, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<std::string_view, 12> months{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  fmt::format_to(std::back_inserter(out),
                 "Date: {}, {:02} {} {} {:02}:{:02}:{:02} GMT\r\n",
                 days.at(static_cast<std::size_t>(utc.tm_wday)),
                 utc.tm_mday,
                 months.at(static_cast<std::size_t>(utc.tm_mon)),
                 utc.tm_year + 1900,
                 utc.tm_hour,
                 utc.tm_min,
                 utc.tm_sec);
}

void append_line(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

} // namespace

bool is_legal(const header& one) noexcept {
  return !one.name.empty() && std::all_of(one.name.begin(), one.name.end(), is_token_character)
         && is_text(one.value)
         && std::none_of(server_owned.begin(), server_owned.end(), [&one](std::string_view name) {
              return is_same_word(one.name, name);
            });
}

bool has_body(int status) noexcept {
  return status >= 200 && status != 204 && status != 304;
}

void append_head(std::string& out,
                 int status,
                 std::span<const header> headers,
                 const answer_context& context,
                 body_form form,
                 std::uint64_t body_bytes,
                 bool keeps_alive) {
  const auto phrase =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  fmt::format_to(std::back_inserter(out),
                 "HTTP/1.1 {} {}\r\n",
                 status,
                 std::string_view(phrase.data(), phrase.size()));
  append_date(out);
  for (const auto& one : headers) {
    append_line(out, one.name, one.value);
  }
  if (!context.allowed_origin.empty()) {
    append_line(out, "Access-Control-Allow-Origin", context.allowed_origin);
    if (!context.exposed_headers.empty()) {
      append_line(out, "Access-Control-Expose-Headers", context.exposed_headers);
    }
    append_line(out, "Vary", "Origin");
  }
  if (has_body(status)) {
    if (form == body_form::length) {
      append_line(out, "Content-Length", std::to_string(body_bytes));
    } else if (form == body_form::chunked) {
      append_line(out, "Transfer-Encoding", "chunked");
    }
  }
  if (!keeps_alive) {
    append_line(out, "Connection", "close");
  } else if (context.is_http_1_0) {
    append_line(out, "Connection", "keep-alive");
  }
  out += "\r\n";
}

void append_answer(std::string& out,
                   const response& answer,
                   const answer_context& context,
                   bool keeps_alive) {
  append_head(out,
              answer.status,
              answer.headers,
              context,
              body_form::length,
              answer.body.size(),
              keeps_alive);
  if (has_body(answer.status) && !context.is_head) {
    out += answer.body;
  }
}

response plain_error(const refusal& cause) {
  return {.status = cause.status,
          .headers = {{"Content-Type", "text/plain; charset=utf-8"}},
          .body = fmt::format("{}: {}\n", cause.status, cause.reason)};
}

std::string_view allowed_for(std::string_view origin,
                             std::span<const std::string> allowed) noexcept {
  for (const std::string_view one : allowed) {
    if (one == "*" || (!origin.empty() && one == origin)) {
      return one;
    }
  }
  return {};
}

bool is_preflight(const request& asked) noexcept {
  return asked.method == "OPTIONS" && asked.find("origin") != nullptr
         && asked.find("access-control-request-method") != nullptr;
}

response preflight_answer(const request& asked) {
  response leave{.status = 204};
  leave.headers.push_back(
      {"Access-Control-Allow-Methods", *asked.find("access-control-request-method")});
  if (const auto* names = asked.find("access-control-request-headers")) {
    leave.headers.push_back({"Access-Control-Allow-Headers", *names});
  }
  leave.headers.push_back({"Access-Control-Max-Age", "600"});
  return leave;
}

} // namespace vdist::http
