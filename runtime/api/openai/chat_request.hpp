// runtime/api/openai/chat_request.hpp — the body of POST /v1/chat/completions.
//   {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 64}
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/chat_prompt.hpp"
#include "runtime/api/openai/request.hpp"

#include <string_view>

namespace vdist::api::openai {

/// params.logprobs is top_logprobs when logprobs is true; params.max_tokens is max_completion_tokens, or max_tokens.
struct chat_request : generation_request {
  chat_prompt prompt;

  friend bool operator==(const chat_request&, const chat_request&) = default;
};

/// `defaults`: the model's, below the user's values; add_special_tokens is false where nobody says otherwise, since
/// templates write them.
[[nodiscard]] answer<chat_request> parse_chat_request(std::string_view body,
                                                      const request_limits& limits,
                                                      const sampling_params& defaults);

} // namespace vdist::api::openai
