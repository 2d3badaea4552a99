#include "runtime/api/openai/api_error.hpp"

#include "runtime/api/json.hpp"

#include <fmt/format.h>

namespace vdist::api::openai {

namespace {

constexpr std::string_view request_error = "invalid_request_error";
constexpr std::string_view server_error = "server_error";

api_error refusal(int status, std::string_view code, std::string_view param, std::string message) {
  return {.status = status,
          .type = std::string(request_error),
          .param = param.empty() ? std::nullopt : std::optional<std::string>(param),
          .code = std::string(code),
          .message = std::move(message)};
}

struct http_answer {
  int status;
  std::string_view type;
};

http_answer answer_to(errc code) noexcept {
  switch (code) {
  case errc::invalid_argument:
    return {400, request_error};
  case errc::not_found:
    return {404, request_error};
  case errc::unsupported:
    return {501, "not_implemented_error"};
  case errc::queue_full:
  case errc::resource_exhausted:
    return {429, "rate_limit_error"};
  case errc::closed:
  case errc::cancelled:
    return {503, "service_unavailable_error"};
  case errc::timed_out:
    return {504, "timeout_error"};
  case errc::ok:
  case errc::bad_configuration:
  case errc::corrupt:
  case errc::stale:
  case errc::aborted:
  case errc::io_failed:
  case errc::internal:
  case errc::device_failed:
  case errc::device_lost:
    break;
  }
  return {500, server_error};
}

} // namespace

api_error invalid_value(std::string_view param, std::string message) {
  return refusal(400, "invalid_value", param, std::move(message));
}

api_error unsupported_parameter(std::string_view param, std::string message) {
  return refusal(400, "unsupported_parameter", param, std::move(message));
}

api_error unknown_parameter(std::string_view param) {
  const auto name = shown_text(param);
  return refusal(400, "unknown_parameter", name, fmt::format("unknown parameter {}", name));
}

api_error missing_parameter(std::string_view param, std::string_view what) {
  return refusal(400,
                 "missing_required_parameter",
                 param,
                 fmt::format("{} must be given; legal: {}", param, what));
}

api_error model_not_found(std::string_view model) {
  return refusal(404,
                 "model_not_found",
                 "model",
                 fmt::format("the model {} does not exist here", shown_text(model)));
}

api_error of_engine(const error& cause, std::string_view param) {
  const auto [status, type] = answer_to(cause.code);
  auto told = refusal(status, to_string(cause.code), param, cause.context);
  told.type = type;
  return told;
}

void append_error(std::string& out, const api_error& cause) {
  out.append(R"({"error":{"message":)");
  append_json_string(out, cause.message);
  out.append(R"(,"type":)");
  append_json_string(out, cause.type);
  out.append(R"(,"param":)");
  if (cause.param) {
    append_json_string(out, *cause.param);
  } else {
    out.append("null");
  }
  out.append(R"(,"code":)");
  append_json_string(out, cause.code);
  out.append("}}");
}

} // namespace vdist::api::openai
