// runtime/api/openai/logprobs_text.hpp — log probabilities in the two forms of the API. Internal to the folder's sources.
#pragma once

#include "runtime/api/openai/response.hpp"

#include <span>
#include <string>

namespace vdist::api::openai {

/// Of completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, a list each, or null. The alternatives
/// of a position are an object from text to log probability that has the chosen token, too; of several tokens with
/// one text it has the likeliest. Offsets count characters and begin at choice.text_offset.
void append_completion_logprobs(std::string& out, const choice_text& choice);

/// Of chats: {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal": null}, or null. `bytes` are those
/// of the token, also where `token` has U+FFFD.
void append_chat_logprobs(std::string& out, const choice_text& choice);

} // namespace vdist::api::openai
