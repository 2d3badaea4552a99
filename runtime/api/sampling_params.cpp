#include "runtime/api/sampling_params.hpp"

#include "runtime/api/json.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace vdist::api {

namespace {

/// Every text of this file begins with it and goes on with the parameter's name and a space.
constexpr std::string_view operation = "sampling: ";

template <class T>
error out_of_range(std::string_view name, const T& value, std::string_view legal) {
  return fail(
      errc::invalid_argument,
      fmt::format("{}{} is out of range ({}={}); legal: {}", operation, name, name, value, legal));
}

// The comparisons are written so that NaN fails them.
result<void> validate_choice(const sampling_params& p) {
  if (!(p.temperature >= 0 && p.temperature <= temperature_max)) {
    return out_of_range("temperature", p.temperature, "0 to 2, 0 is greedy");
  }
  if (!(p.top_p > 0 && p.top_p <= 1)) {
    return out_of_range("top_p", p.top_p, "above 0 to 1");
  }
  if (p.top_k < -1) {
    return out_of_range("top_k", p.top_k, "at least 1, or 0 or -1 for all tokens");
  }
  if (!(p.min_p >= 0 && p.min_p <= 1)) {
    return out_of_range("min_p", p.min_p, "0 to 1");
  }
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty))) {
    return out_of_range("repetition_penalty", p.repetition_penalty, "above 0");
  }
  if (!(std::abs(p.presence_penalty) <= penalty_max)) {
    return out_of_range("presence_penalty", p.presence_penalty, "-2 to 2");
  }
  if (!(std::abs(p.frequency_penalty) <= penalty_max)) {
    return out_of_range("frequency_penalty", p.frequency_penalty, "-2 to 2");
  }
  return {};
}

result<void> validate_bias(const std::vector<std::pair<token_id, float>>& bias) {
  if (bias.size() > logit_bias_entries_max) {
    return out_of_range(
        "logit_bias", bias.size(), fmt::format("at most {} entries", logit_bias_entries_max));
  }
  token_id previous = -1;
  for (const auto& [id, value] : bias) {
    if (id <= previous) {
      return out_of_range("logit_bias", id, "token ids from 0, rising, each at most once");
    }
    if (std::isnan(value)) {
      return out_of_range("logit_bias", value, "numbers");
    }
    previous = id;
  }
  return {};
}

result<void> validate_end(const sampling_params& p) {
  if (p.max_tokens && *p.max_tokens < 1) {
    return out_of_range("max_tokens", *p.max_tokens, "at least 1");
  }
  if (p.min_tokens < 0) {
    return out_of_range("min_tokens", p.min_tokens, "at least 0");
  }
  if (p.max_tokens && p.min_tokens > *p.max_tokens) {
    return out_of_range(
        "min_tokens", p.min_tokens, fmt::format("0 to max_tokens, which is {}", *p.max_tokens));
  }
  if (p.stop.size() > stop_strings_max) {
    return out_of_range("stop", p.stop.size(), fmt::format("at most {} strings", stop_strings_max));
  }
  for (const std::string& text : p.stop) {
    if (text.empty() || text.size() > stop_string_bytes_max) {
      return out_of_range(
          "stop", text.size(), fmt::format("strings of 1 to {} bytes", stop_string_bytes_max));
    }
    if (invalid_utf8_at(text)) {
      return fail(errc::invalid_argument,
                  fmt::format("{}stop is not valid utf-8; legal: text", operation));
    }
  }
  if (p.stop_token_ids.size() > stop_token_ids_max) {
    return out_of_range("stop_token_ids",
                        p.stop_token_ids.size(),
                        fmt::format("at most {} ids", stop_token_ids_max));
  }
  const auto negative = std::find_if(
      p.stop_token_ids.begin(), p.stop_token_ids.end(), [](token_id id) { return id < 0; });
  if (negative != p.stop_token_ids.end()) {
    return out_of_range("stop_token_ids", *negative, "token ids, none negative");
  }
  return {};
}

result<void> validate_output(const sampling_params& p) {
  if (p.n < 1 || p.n > n_max) {
    return out_of_range("n", p.n, fmt::format("1 to {}", n_max));
  }
  if (p.is_greedy() && p.n > 1) {
    return out_of_range(
        "n", p.n, "1 when temperature is 0, since greedy sequences are all the same");
  }
  if (p.logprobs && (*p.logprobs < 0 || *p.logprobs > logprobs_max)) {
    return out_of_range("logprobs", *p.logprobs, fmt::format("0 to {}", logprobs_max));
  }
  return {};
}

} // namespace

result<void> validate(const sampling_params& params) {
  VDIST_TRY(validate_choice(params));
  VDIST_TRY(validate_bias(params.logit_bias));
  VDIST_TRY(validate_end(params));
  return validate_output(params);
}

std::string_view refused_parameter(const error& cause) noexcept {
  std::string_view text = cause.context;
  text.remove_prefix(std::min(text.size(), operation.size()));
  return text.substr(0, text.find(' '));
}

} // namespace vdist::api
