// actors/front_door/request_reading.hpp — from the prompts of a request to token ids: templates, tokenizer, special tokens.
// Pure functions of request and model; they take the time that rendering and tokenizing take. A thread that calls them needs
// jinja::stack_bytes_max of stack.
#pragma once

#include "actors/front_door/serving_backend.hpp"

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/chat_request.hpp"
#include "runtime/api/openai/completion_request.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace vdist::actors {

struct tokenized_prompt {
  std::vector<token_id> token_ids; // at least one
};

/// 400: texts need a tokenizer.
[[nodiscard]] api::openai::api_error no_tokenizer(std::string_view param);

[[nodiscard]] api::openai::answer<tokenized_prompt>
tokenize_text(std::string_view text, bool add_special_tokens, const served_model& model);

[[nodiscard]] api::openai::answer<std::vector<tokenized_prompt>>
tokenize_prompts(const api::openai::completion_request& request, const served_model& model);

/// A model without a template, and messages that the template refuses: 400. A template that cannot be used: 500.
[[nodiscard]] api::openai::answer<tokenized_prompt> tokenize_chat(
    const api::openai::chat_prompt& chat, bool add_special_tokens, const served_model& model);

/// `rendered` up to the end of the text of its last message, for an answer that goes on with it. Error: the template
/// does not print that text.
[[nodiscard]] result<std::string> cut_behind(std::string rendered, std::string_view last_message);

/// What `echo` puts in front of the output.
[[nodiscard]] std::string echo_of(const api::openai::prompt_input& prompt,
                                  const api::sampling_params& params,
                                  const served_model& model);

} // namespace vdist::actors
