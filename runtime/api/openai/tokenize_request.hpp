// runtime/api/openai/tokenize_request.hpp — the bodies of POST /tokenize and /detokenize, vLLM's additions to the API.
//   {"prompt": "Once upon a time"}   {"messages": [{"role": "user", "content": "Hello"}]}   {"tokens": [1, 306]}
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/chat_prompt.hpp"
#include "runtime/api/openai/request.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::api::openai {

struct tokenize_request {
  std::string model;                 // the first of limits.models when the body names none
  std::optional<std::string> prompt; // exactly one of these two
  std::optional<chat_prompt> chat;
  bool add_special_tokens = true; // false for a chat, where nobody says otherwise
  bool return_token_strs = false;

  friend bool operator==(const tokenize_request&, const tokenize_request&) = default;
};

struct detokenize_request {
  std::string model;
  std::vector<token_id> tokens; // may be empty

  friend bool operator==(const detokenize_request&, const detokenize_request&) = default;
};

[[nodiscard]] answer<tokenize_request> parse_tokenize_request(std::string_view body,
                                                              const request_limits& limits);
[[nodiscard]] answer<detokenize_request> parse_detokenize_request(std::string_view body,
                                                                  const request_limits& limits);

} // namespace vdist::api::openai
