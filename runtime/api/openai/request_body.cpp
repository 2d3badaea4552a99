#include "runtime/api/openai/request_body.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/json.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

answer<void> read_stream_options(const json& value, stream_options& options) {
  if (value.is_null()) {
    return {};
  }
  if (!value.is_object()) {
    return invalid_value("stream_options",
                         fmt::format("stream_options must be an object (got {})", shown(value)));
  }
  for (const auto& [name, option] : value.items()) {
    const auto path = "stream_options." + name;
    if (name == "include_usage") {
      VDIST_TRY(read_flag(path, option, options.include_usage));
    } else if (name == "continuous_usage_stats") {
      VDIST_TRY(read_flag(path, option, options.continuous_usage_stats));
    } else if (name == "include_obfuscation") {
      bool is_wanted = false;
      VDIST_TRY(read_flag(path, option, is_wanted));
      if (is_wanted) {
        return unsupported_parameter(path, "chunks are not padded; legal: false");
      }
    } else {
      return unknown_parameter(path);
    }
  }
  return {};
}

} // namespace

std::string_view body_text(std::string_view bytes) noexcept {
  return bytes.starts_with(byte_order_mark) ? bytes.substr(byte_order_mark.size()) : bytes;
}

answer<json> read_body(std::string_view text, const request_limits& limits) {
  if (text.size() > limits.body_bytes_max) {
    auto refused = invalid_value({},
                                 fmt::format("the body is too long (bytes={}); legal: at most {}",
                                             text.size(),
                                             limits.body_bytes_max));
    refused.status = 413;
    refused.code = "body_too_long";
    return refused;
  }
  auto body = parse_object(text, body_depth_max);
  if (!body) {
    return invalid_value({}, fmt::format("body: {}", body.error().context));
  }
  return std::move(body).value();
}

answer<std::string> read_model(const json& body, const request_limits& limits, model_name need) {
  const auto found = body.find("model");
  if (found == body.end() || found->is_null()) {
    if (need == model_name::optional && !limits.models.empty()) {
      return limits.models.front();
    }
    return missing_parameter("model", "a name of /v1/models");
  }
  std::string name;
  VDIST_TRY(read_text("model", *found, name));
  if (std::find(limits.models.begin(), limits.models.end(), name) == limits.models.end()) {
    return model_not_found(name);
  }
  return name;
}

answer<void> read_flag(std::string_view field, const json& value, bool& out) {
  if (!value.is_null()) {
    VDIST_ASSIGN(out, value_of(field, read_bool(field, value)));
  }
  return {};
}

answer<void> read_text(std::string_view field, const json& value, std::string& out) {
  if (value.is_null()) {
    return {};
  }
  if (!value.is_string()) {
    return invalid_value(field, fmt::format("{} must be a string (got {})", field, shown(value)));
  }
  out = value.get<std::string>();
  return {};
}

answer<void> take_shared(endpoint where,
                         std::string_view field,
                         const json& value,
                         generation_request& request) {
  if (field == "model") {
    return {}; // read_model() has
  }
  if (field == "stream") {
    return read_flag(field, value, request.is_stream);
  }
  if (field == "stream_options") {
    return read_stream_options(value, request.streaming);
  }
  if (field == "add_special_tokens") {
    return read_flag(field, value, request.add_special_tokens);
  }
  VDIST_ASSIGN(const bool is_taken, value_of(field, read_param(field, value, request.params)));
  return is_taken ? answer<void>() : check_passive(where, field, value);
}

answer<void> check_shared(const json& body, const generation_request& request) {
  const auto options = body.find("stream_options");
  if (!request.is_stream && options != body.end() && !options->is_null()) {
    return invalid_value("stream_options",
                         "stream_options are for streams; legal: with stream = true");
  }
  if (request.streaming.continuous_usage_stats && !request.streaming.include_usage) {
    return invalid_value("stream_options.continuous_usage_stats",
                         "continuous_usage_stats needs include_usage");
  }
  const auto valid = validate(request.params);
  return valid ? answer<void>()
               : invalid_value(refused_parameter(valid.error()), valid.error().context);
}

} // namespace vdist::api::openai
