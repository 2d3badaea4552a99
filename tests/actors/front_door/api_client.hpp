// tests/actors/front_door/api_client.hpp — asks the API over a socket of this process, and reads answers and streams of
// events. Throws std::runtime_error where a test has no business to go on.
#pragma once

#include "tests/transport/http/http_client.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::testing {

using header_list = std::vector<std::pair<std::string, std::string>>;

/// One server-sent event.
struct sent_event {
  std::optional<std::string> id;
  std::string data;
};

inline std::vector<sent_event> events_in(const std::string& text) {
  std::vector<sent_event> all;
  sent_event now;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) {
      all.push_back(std::exchange(now, {}));
    } else if (line.starts_with("id: ")) {
      now.id = line.substr(4);
    } else if (line.starts_with("data: ")) {
      now.data = line.substr(6);
    } else {
      throw std::runtime_error("not a line of an event: " + line);
    }
  }
  return all;
}

inline std::string request_text(std::string_view method,
                                std::string_view path,
                                std::string_view body,
                                const header_list& headers = {}) {
  std::string text = std::string(method) + ' ' + std::string(path) + " HTTP/1.1\r\nHost: t\r\n";
  for (const auto& [name, value] : headers) {
    text += name + ": " + value + "\r\n";
  }
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  return text + std::string(body);
}

inline http_answer ask(std::uint16_t port,
                       std::string_view method,
                       std::string_view path,
                       std::string_view body = {},
                       const header_list& headers = {}) {
  return http_client(port).ask(request_text(method, path, body, headers));
}

inline http_answer post(std::uint16_t port,
                        std::string_view path,
                        const nlohmann::json& body,
                        const header_list& headers = {}) {
  return ask(port, "POST", path, body.dump(), headers);
}

inline nlohmann::json json_of(const http_answer& answer) {
  auto value = nlohmann::json::parse(answer.body, nullptr, false);
  if (value.is_discarded()) {
    throw std::runtime_error("not JSON: " + answer.body);
  }
  return value;
}

/// What the chunks of a stream come to, by choice.
struct told_choice {
  std::string text;
  std::string reason; // empty: no end yet
  int ends = 0;
};

/// Adds a chunk of a completion or chat to its choices.
inline void add_chunk(std::vector<told_choice>& choices, const nlohmann::json& chunk) {
  for (const auto& one : chunk.at("choices")) {
    const auto index = one.at("index").get<std::size_t>();
    choices.resize(std::max(choices.size(), index + 1));
    auto& into = choices[index];
    into.text += one.contains("delta") ? one.at("delta").value("content", "")
                                       : one.at("text").get<std::string>();
    if (one.at("finish_reason").is_string()) {
      into.reason = one.at("finish_reason").get<std::string>();
      ++into.ends;
    }
  }
}

inline std::vector<told_choice> choices_in(const std::vector<sent_event>& events) {
  std::vector<told_choice> all;
  for (const auto& one : events) {
    if (one.data != "[DONE]") {
      add_chunk(all, nlohmann::json::parse(one.data));
    }
  }
  return all;
}

} // namespace vdist::testing
