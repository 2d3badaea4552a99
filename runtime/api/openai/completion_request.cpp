#include "runtime/api/openai/completion_request.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/json.hpp"
#include "runtime/api/openai/request_body.hpp"
#include "runtime/api/request_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

constexpr std::string_view prompt_types =
    "a string, a list of strings, a list of token ids, or a list of such lists";

answer<prompt_input> read_tokens(std::string_view path, const json& value) {
  prompt_input prompt;
  VDIST_ASSIGN(prompt.token_ids, value_of(path, read_token_ids(path, value, token_ids_max)));
  if (prompt.token_ids.empty()) {
    return invalid_value(path, fmt::format("{} has no tokens; legal: at least 1", path));
  }
  return prompt;
}

/// An element of a list that begins with a text or with a list.
answer<prompt_input> read_element(std::string_view path, const json& value, bool is_text) {
  if (!is_text) {
    return read_tokens(path, value);
  }
  if (!value.is_string()) {
    return invalid_value(
        path, fmt::format("{} must be a string as the first is (got {})", path, shown(value)));
  }
  return prompt_input{.text = value.get<std::string>(), .token_ids = {}};
}

answer<std::vector<prompt_input>> read_prompts(const json& value, std::size_t count_max) {
  std::vector<prompt_input> prompts;
  if (value.is_string()) {
    prompts.push_back({.text = value.get<std::string>(), .token_ids = {}});
    return prompts;
  }
  if (!value.is_array() || value.empty()) {
    return invalid_value("prompt",
                         fmt::format("prompt must be {} (got {})", prompt_types, shown(value)));
  }
  const json& first = value.front();
  if (first.is_number()) {
    VDIST_ASSIGN(auto prompt, read_tokens("prompt", value));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (!first.is_string() && !first.is_array()) {
    return invalid_value(
        "prompt", fmt::format("prompt must be {} (got a list of {})", prompt_types, shown(first)));
  }
  if (value.size() > count_max) {
    return invalid_value("prompt",
                         fmt::format("prompt has too many entries (entries={}); legal: at most {}",
                                     value.size(),
                                     count_max));
  }
  prompts.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    VDIST_ASSIGN(auto prompt,
                 read_element(fmt::format("prompt[{}]", i), value[i], first.is_string()));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

answer<void> take(std::string_view field,
                  const json& value,
                  const request_limits& limits,
                  completion_request& request) {
  if (field == "prompt" && !value.is_null()) {
    VDIST_ASSIGN(request.prompts, read_prompts(value, limits.prompts_max));
    return {};
  }
  if (field == "prompt") {
    return {};
  }
  if (field == "echo") {
    return read_flag(field, value, request.echo);
  }
  return take_shared(endpoint::completions, field, value, request);
}

} // namespace

answer<completion_request> parse_completion_request(std::string_view bytes,
                                                    const request_limits& limits,
                                                    const sampling_params& defaults) {
  VDIST_ASSIGN(const json body, read_body(body_text(bytes), limits));
  completion_request request;
  VDIST_ASSIGN(request.model, read_model(body, limits, model_name::required));
  request.params = defaults;
  request.params.max_tokens = defaults.max_tokens.value_or(completion_max_tokens_default);
  request.add_special_tokens = true;
  for (const auto& [field, value] : body.items()) {
    VDIST_TRY(take(field, value, limits, request));
  }
  if (request.prompts.empty()) {
    return missing_parameter("prompt", prompt_types);
  }
  VDIST_TRY(check_shared(body, request));
  if (request.echo && request.params.logprobs) {
    return unsupported_parameter(
        "echo", "there are no log probabilities of prompts; legal: echo without logprobs");
  }
  return request;
}

} // namespace vdist::api::openai
