// runtime/api/openai/completion_request.hpp — the body of POST /v1/completions.
//   {"model": "m", "prompt": "Once upon a time", "max_tokens": 64, "stream": true}
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/request.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace vdist::api::openai {

/// One prompt: a text, or token ids when there are some.
struct prompt_input {
  std::string text;
  std::vector<token_id> token_ids;

  [[nodiscard]] bool is_tokenized() const { return !token_ids.empty(); }

  friend bool operator==(const prompt_input&, const prompt_input&) = default;
};

struct completion_request : generation_request {
  std::vector<prompt_input> prompts; // at least one; choice i of prompt p has index p * n + i
  bool echo = false;                 // the prompt's text in front of the output; without logprobs

  friend bool operator==(const completion_request&, const completion_request&) = default;
};

/// `defaults`: the model's, below the user's values; add_special_tokens is true and max_tokens 16 where nobody says
/// otherwise. Whether a prompt fits the model is the engine's to say.
[[nodiscard]] answer<completion_request> parse_completion_request(std::string_view body,
                                                                  const request_limits& limits,
                                                                  const sampling_params& defaults);

} // namespace vdist::api::openai
