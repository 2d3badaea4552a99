#include "tests/bench/serve/request_text.hpp"

#include "tests/bench/serve/random_draws.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace vdist::bench::serve {

namespace {

/// Words that most vocabularies have as one token; with how many a prompt comes out the server's usage tells.
constexpr std::array words{"the", "and", "was", "for",  "that",  "with", "his",   "her",
                           "had", "not", "but", "they", "said",  "you",  "all",   "him",
                           "she", "one", "out", "were", "there", "when", "could", "into"};

/// The first quarter of a vocabulary has the special tokens.
constexpr std::uint32_t special_share = 4;

random_draws draws_for(const request_form& form, std::size_t index) {
  constexpr std::uint64_t apart = 0xd1342543de82ef95;
  return random_draws(form.seed + (index + 1) * apart);
}

std::string words_for(const planned_request& planned, std::size_t index, const request_form& form) {
  auto draws = draws_for(form, index);
  std::string text;
  for (std::int32_t i = 0; i < planned.input_tokens; ++i) {
    text += i == 0 ? "" : " ";
    text += words[draws.below(words.size())];
  }
  return text;
}

/// Written by hand: it is most of a request, and sending it must cost little.
void append_ids(std::string& out,
                const planned_request& planned,
                std::size_t index,
                const request_form& form) {
  auto draws = draws_for(form, index);
  const auto first = form.vocabulary / special_share;
  out += '[';
  for (std::int32_t i = 0; i < planned.input_tokens; ++i) {
    fmt::format_to(std::back_inserter(out),
                   "{}{}",
                   i == 0 ? "" : ",",
                   first + draws.below(form.vocabulary - first));
  }
  out += ']';
}

void append_head(std::string& out,
                 std::string_view what,
                 const endpoint& to,
                 std::string_view path) {
  const bool is_ipv6 = to.host.find(':') != std::string::npos;
  fmt::format_to(
      std::back_inserter(out),
      "{} {}{} HTTP/1.1\r\nhost: {}{}{}:{}\r\naccept: application/json, text/event-stream\r\n",
      what,
      to.prefix,
      path,
      is_ipv6 ? "[" : "",
      to.host,
      is_ipv6 ? "]" : "",
      to.port);
}

void append_key(std::string& out, std::string_view api_key) {
  if (!api_key.empty()) {
    fmt::format_to(std::back_inserter(out), "authorization: Bearer {}\r\n", api_key);
  }
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace

result<endpoint> parse_url(std::string_view url) {
  constexpr std::string_view plain = "http://";
  constexpr std::string_view secure = "https://";
  if (url.starts_with(secure)) {
    return fail(errc::unsupported,
                fmt::format("url: only http can be measured, https needs a proxy (url={})", url));
  }
  const auto wrong = [url] {
    return fail(
        errc::invalid_argument,
        fmt::format("url: it must be http://HOST:PORT or http://HOST:PORT/PREFIX (url={})", url));
  };
  if (!url.starts_with(plain)) {
    return wrong();
  }
  auto rest = url.substr(plain.size());
  endpoint made;
  const auto slash = std::min(rest.find('/'), rest.size());
  made.prefix = rest.substr(slash);
  auto place = rest.substr(0, slash);
  if (place.starts_with('[')) {
    const auto close = place.find(']');
    if (close == std::string_view::npos) {
      return wrong();
    }
    made.host = place.substr(1, close - 1);
    place.remove_prefix(close + 1);
  } else {
    const auto colon = std::min(place.find(':'), place.size());
    made.host = place.substr(0, colon);
    place.remove_prefix(colon);
  }
  if (!place.empty()) {
    place.remove_prefix(1);
    const auto [end, cause] = std::from_chars(place.data(), place.data() + place.size(), made.port);
    if (cause != std::errc() || end != place.data() + place.size() || made.port == 0) {
      return wrong();
    }
  }
  const bool is_legal = std::none_of(url.begin(), url.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
  });
  if (made.host.empty() || !is_legal) {
    return wrong();
  }
  while (made.prefix.ends_with('/')) {
    made.prefix.pop_back();
  }
  if (made.prefix.ends_with("/v1")) {
    made.prefix.resize(made.prefix.size() - std::string_view("/v1").size());
  }
  return made;
}

std::string body_of(const planned_request& planned, std::size_t index, const request_form& form) {
  std::string out = R"({"model":)" + json_text(form.model);
  if (form.is_chat) {
    const auto text = planned.text.empty() ? words_for(planned, index, form) : planned.text;
    out += R"(,"messages":[{"role":"user","content":)" + json_text(text) + "}]";
  } else {
    out += R"(,"prompt":)";
    if (planned.text.empty()) {
      append_ids(out, planned, index, form);
    } else {
      out += json_text(planned.text);
    }
  }
  fmt::format_to(
      std::back_inserter(out), R"(,"max_tokens":{},"temperature":0)", planned.output_tokens);
  if (form.ignores_end) {
    out += R"(,"ignore_eos":true)";
  }
  if (form.is_stream) {
    out += R"(,"stream":true)";
    if (form.usage != usage_request::none) {
      out += R"(,"stream_options":{"include_usage":true)";
      out += form.usage == usage_request::continuous ? R"(,"continuous_usage_stats":true})" : "}";
    }
  }
  return out + '}';
}

std::string
request_of(const planned_request& planned, std::size_t index, const request_form& form) {
  const auto body = body_of(planned, index, form);
  std::string out;
  out.reserve(body.size() + 512);
  append_head(out, "POST", form.to, form.is_chat ? "/v1/chat/completions" : "/v1/completions");
  append_key(out, form.api_key);
  fmt::format_to(std::back_inserter(out),
                 "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                 body.size());
  return out + body;
}

std::string get_of(const endpoint& from, std::string_view path, std::string_view api_key) {
  std::string out;
  append_head(out, "GET", from, path);
  append_key(out, api_key);
  return out + "connection: close\r\n\r\n";
}

} // namespace vdist::bench::serve
