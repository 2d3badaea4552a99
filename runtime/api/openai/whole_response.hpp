// runtime/api/openai/whole_response.hpp — answers that are not streams: completions, chats, models, tokens.
#pragma once

#include "runtime/api/openai/response.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::api::openai {

/// All choices of a request, each with its end. The text of an echoed prompt is a part of choice_text::text.
void append_completion(std::string& out,
                       const response_head& head,
                       std::span<const choice_text> choices,
                       const usage& spent);
void append_chat(std::string& out,
                 const response_head& head,
                 std::span<const choice_text> choices,
                 const usage& spent);

/// One entry of /v1/models; `max_model_len` is vLLM's addition.
struct model_entry {
  std::string id;
  std::int64_t created = 0; // seconds since 1970
  std::int32_t max_model_len = 0;
};

void append_model(std::string& out, const model_entry& model);
void append_models(std::string& out, std::span<const model_entry> models);

/// The answer of /tokenize. `texts`: of the tokens, when asked for.
void append_tokens(std::string& out,
                   std::span<const token_id> tokens,
                   std::int32_t max_model_len,
                   const std::optional<std::vector<std::string>>& texts);
/// The answer of /detokenize.
void append_detokenized(std::string& out, std::string_view text);

} // namespace vdist::api::openai
