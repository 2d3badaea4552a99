// runtime/api/openai/response_text.hpp — the pieces that answers are written from. Internal to the folder's sources.
#pragma once

#include "runtime/api/openai/response.hpp"

#include <string>
#include <string_view>

namespace vdist::api::openai {

void append_number(std::string& out, std::int64_t number);
/// The shortest text that gives the float back; -9999.0 for what is not finite.
void append_logprob(std::string& out, float logprob);

/// {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…,"choices":[
[[nodiscard]] std::string opened(const response_head& head, std::string_view object);

/// {"prompt_tokens":…,"total_tokens":…,"completion_tokens":…,"prompt_tokens_details":…}
void append_usage(std::string& out, const usage& spent);

/// "finish_reason":…, and at the end "stop_reason":…
void append_end(std::string& out, const choice_text& choice);

} // namespace vdist::api::openai
