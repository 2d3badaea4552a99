#include "runtime/api/openai/chat_request.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/openai/request_body.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

/// Fields that mean something else here than in sampling_params, until all are read.
struct chat_fields {
  bool logprobs = false;
  std::optional<std::int32_t> top_logprobs;
  std::optional<std::int32_t> max_tokens;
  std::optional<std::int32_t> max_completion_tokens;
  bool echo = false;
};

answer<void> read_count(std::string_view field,
                        const json& value,
                        std::int32_t from,
                        std::int32_t to,
                        std::optional<std::int32_t>& out) {
  if (value.is_null()) {
    return {};
  }
  VDIST_ASSIGN(out, value_of(field, read_int32(field, value)));
  if (*out < from || *out > to) {
    return invalid_value(
        field,
        fmt::format("{} is out of range ({}={}); legal: {} to {}", field, field, *out, from, to));
  }
  return {};
}

answer<void>
take(std::string_view field, const json& value, chat_fields& own, chat_request& request) {
  constexpr auto any = std::numeric_limits<std::int32_t>::max();
  if (is_of_chat_prompt(field)) {
    return {}; // read_chat_prompt() has
  }
  if (field == "logprobs") {
    return read_flag(field, value, own.logprobs);
  }
  if (field == "top_logprobs") {
    return read_count(field, value, 0, logprobs_max, own.top_logprobs);
  }
  if (field == "max_completion_tokens") {
    return read_count(field, value, 1, any, own.max_completion_tokens);
  }
  if (field == "max_tokens") {
    return read_count(field, value, 1, any, own.max_tokens);
  }
  if (field == "echo") {
    VDIST_TRY(read_flag(field, value, own.echo));
    return own.echo ? unsupported_parameter(field, "echo must be false: answers are new text")
                    : answer<void>();
  }
  return take_shared(endpoint::chat, field, value, request);
}

answer<void> combine(const chat_fields& own, sampling_params& params) {
  if (own.top_logprobs && !own.logprobs) {
    return invalid_value("top_logprobs", "top_logprobs needs logprobs = true");
  }
  params.logprobs = own.logprobs ? std::optional(own.top_logprobs.value_or(0)) : std::nullopt;
  if (own.max_tokens && own.max_completion_tokens
      && *own.max_tokens != *own.max_completion_tokens) {
    return invalid_value("max_tokens",
                         fmt::format("max_tokens and max_completion_tokens differ ({} and {})",
                                     *own.max_tokens,
                                     *own.max_completion_tokens));
  }
  if (own.max_tokens || own.max_completion_tokens) {
    params.max_tokens = own.max_tokens ? own.max_tokens : own.max_completion_tokens;
  }
  return {};
}

} // namespace

answer<chat_request> parse_chat_request(std::string_view bytes,
                                        const request_limits& limits,
                                        const sampling_params& defaults) {
  const auto text = body_text(bytes);
  VDIST_ASSIGN(const json body, read_body(text, limits));
  chat_request request;
  VDIST_ASSIGN(request.model, read_model(body, limits, model_name::required));
  request.params = defaults;
  chat_fields own;
  for (const auto& [field, value] : body.items()) {
    VDIST_TRY(take(field, value, own, request));
  }
  VDIST_TRY(combine(own, request.params));
  VDIST_ASSIGN(request.prompt, read_chat_prompt(body, text, limits));
  VDIST_TRY(check_shared(body, request));
  return request;
}

} // namespace vdist::api::openai
