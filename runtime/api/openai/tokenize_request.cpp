#include "runtime/api/openai/tokenize_request.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/openai/request_body.hpp"
#include "runtime/api/request_file.hpp"

#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

bool is_given(const json& body, std::string_view field) {
  const auto found = body.find(field);
  return found != body.end() && !found->is_null();
}

answer<void> take(std::string_view field, const json& value, tokenize_request& request) {
  if (field == "add_special_tokens") {
    return read_flag(field, value, request.add_special_tokens);
  }
  if (field == "return_token_strs") {
    return read_flag(field, value, request.return_token_strs);
  }
  if (field == "prompt") {
    return request.chat ? answer<void>() : read_text(field, value, request.prompt.emplace());
  }
  if (field == "model" || (is_of_chat_prompt(field) && (request.chat || value.is_null()))) {
    return {};
  }
  return unknown_parameter(field);
}

} // namespace

answer<tokenize_request> parse_tokenize_request(std::string_view bytes,
                                                const request_limits& limits) {
  const auto text = body_text(bytes);
  VDIST_ASSIGN(const json body, read_body(text, limits));
  tokenize_request request;
  VDIST_ASSIGN(request.model, read_model(body, limits, model_name::optional));
  const bool has_messages = is_given(body, "messages");
  if (has_messages == is_given(body, "prompt")) {
    return has_messages ? invalid_value("prompt", "prompt and messages exclude each other")
                        : missing_parameter("prompt", "a string, or messages");
  }
  if (has_messages) {
    VDIST_ASSIGN(request.chat, read_chat_prompt(body, text, limits));
    request.add_special_tokens = false;
  }
  for (const auto& [field, value] : body.items()) {
    VDIST_TRY(take(field, value, request));
  }
  return request;
}

answer<detokenize_request> parse_detokenize_request(std::string_view bytes,
                                                    const request_limits& limits) {
  VDIST_ASSIGN(const json body, read_body(body_text(bytes), limits));
  detokenize_request request;
  VDIST_ASSIGN(request.model, read_model(body, limits, model_name::optional));
  if (!is_given(body, "tokens")) {
    return missing_parameter("tokens", "a list of token ids");
  }
  for (const auto& [field, value] : body.items()) {
    if (field == "tokens") {
      VDIST_ASSIGN(request.tokens, value_of(field, read_token_ids(field, value, token_ids_max)));
    } else if (field != "model") {
      return unknown_parameter(field);
    }
  }
  return request;
}

} // namespace vdist::api::openai
