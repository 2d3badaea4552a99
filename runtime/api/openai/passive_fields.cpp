#include "runtime/api/openai/passive_fields.hpp"

#include "runtime/api/json.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;
using enum endpoint;
using enum harmless;

constexpr std::array table{
    // For the provider's own books.
    passive_field{"user", both, any_string, "", "names the end user; nothing here depends on it"},
    passive_field{"safety_identifier", chat, any_string, "", "names the end user, too"},
    passive_field{"metadata", chat, any_object, "", "labels of stored answers; none are stored"},
    passive_field{"store", chat, one_value, "false", "answers are not stored"},
    // Hints about caches. Prefixes are found by their tokens.
    passive_field{"prompt_cache_key", chat, any_string, "", "where to look for a cached prefix"},
    passive_field{"prompt_cache_retention", chat, any_string, "", "how long a prefix is kept"},
    passive_field{"prompt_cache_options", chat, any_object, "", "how a prefix is kept"},
    passive_field{"cache_salt", both, none, "", "prefixes are shared by all"},
    // What only one value of is served.
    passive_field{"service_tier", chat, one_value, R"("auto")", "there is one tier"},
    passive_field{"modalities", chat, one_value, R"(["text"])", "text is all there is"},
    passive_field{"response_format", both, one_value, R"({"type":"text"})", "output is free text"},
    passive_field{"parallel_tool_calls", chat, one_value, "true", "calls are not restricted"},
    passive_field{"include_reasoning", chat, one_value, "true", "all text is in the answer"},
    passive_field{"verbosity", chat, one_value, R"("medium")", "put it into the prompt"},
    passive_field{"best_of", completions, one_value, "1", "every sequence is returned; use n"},
    passive_field{"suffix", completions, one_value, R"("")", "text is not inserted"},
    passive_field{"use_beam_search", both, one_value, "false", "sequences are sampled"},
    passive_field{"length_penalty", both, one_value, "1", "belongs to beam search"},
    passive_field{
        "spaces_between_special_tokens", both, one_value, "true", "texts are the tokenizer's"},
    passive_field{"return_tokens_as_token_ids", both, one_value, "false", "tokens are texts"},
    passive_field{"return_token_ids", both, one_value, "false", "answers hold texts"},
    passive_field{"bad_words", both, one_value, "[]", "use logit_bias"},
    // Not served at all.
    passive_field{"reasoning_effort", chat, none, "", "use chat_template_kwargs"},
    passive_field{"thinking_token_budget", chat, none, "", "use max_completion_tokens"},
    passive_field{"functions", chat, none, "", "deprecated; use tools"},
    passive_field{"function_call", chat, none, "", "deprecated; use tool_choice"},
    passive_field{"audio", chat, none, "", "text is all there is"},
    passive_field{"prediction", chat, none, "", "text is not predicted"},
    passive_field{"web_search_options", chat, none, "", "nothing is searched"},
    passive_field{"moderation", chat, none, "", "nothing is moderated"},
    passive_field{"chat_template", chat, none, "", "templates are the model's"},
    passive_field{"mm_processor_kwargs", both, none, "", "text is all there is"},
    passive_field{"prompt_embeds", completions, none, "", "prompts are texts or token ids"},
    passive_field{"prompt_logprobs", both, none, "", "log probabilities are the output's"},
    passive_field{"logprob_token_ids", both, none, "", "use logprobs"},
    passive_field{"allowed_token_ids", both, none, "", "use logit_bias"},
    passive_field{"truncate_prompt_tokens", both, none, "", "prompts are never cut"},
    passive_field{"truncation_side", both, none, "", "prompts are never cut"},
    passive_field{"structured_outputs", both, none, "", "output is free text"},
    passive_field{"request_id", both, none, "", "ids are made here"},
    passive_field{"session_id", both, none, "", "requests do not depend on each other"},
    passive_field{"kv_transfer_params", both, none, "", "caches are not handed over"},
    passive_field{"vllm_xargs", both, none, "", "there are no extensions"},
};

bool is_harmless(const passive_field& field, const json& value) {
  switch (field.values) {
  case any_string:
    return value.is_string();
  case any_object:
    return value.is_object();
  case one_value:
    return value == json::parse(field.value, nullptr, false);
  case none:
    break;
  }
  return false;
}

std::string_view legal_values(const passive_field& field) {
  switch (field.values) {
  case any_string:
    return "a string or null";
  case any_object:
    return "an object or null";
  case one_value:
    return field.value;
  case none:
    break;
  }
  return "null";
}

} // namespace

std::span<const passive_field> passive_fields() noexcept {
  return table;
}

answer<void> check_passive(endpoint where, std::string_view field, const json& value) {
  const auto known = std::find_if(table.begin(), table.end(), [where, field](const auto& one) {
    return one.name == field && (one.where == both || one.where == where);
  });
  if (known == table.end()) {
    return unknown_parameter(field);
  }
  if (value.is_null() || is_harmless(*known, value)) {
    return {};
  }
  auto text = fmt::format(
      "{} must be {} (got {}): {}", field, legal_values(*known), shown(value), known->reason);
  const bool is_typed = known->values == any_string || known->values == any_object;
  return is_typed ? invalid_value(field, std::move(text))
                  : unsupported_parameter(field, std::move(text));
}

} // namespace vdist::api::openai
