// tests/runtime/api/openai/request_samples.hpp — bodies of requests for tests.
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/request.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vdist::testing {

inline const std::array<std::string, 2>& served_models() {
  static const std::array<std::string, 2> names{"tiny", "tiny-chat"};
  return names;
}

inline api::openai::request_limits sample_limits() {
  return {.models = served_models()};
}

/// `body` and one field more; the value is JSON.
inline std::string with(std::string_view body, std::string_view field, std::string_view value) {
  return std::string(body.substr(0, body.size() - 1)) + ",\"" + std::string(field)
         + "\":" + std::string(value) + "}";
}

inline constexpr std::string_view completion_body = R"({"model":"tiny","prompt":"Once"})";
inline constexpr std::string_view chat_body =
    R"({"model":"tiny","messages":[{"role":"user","content":"Hello"}]})";

/// A refusal is 400, names the parameter as a whole word in its text, and is one line.
inline void
check_refusal(const api::openai::api_error& cause, std::string_view param, std::string_view code) {
  BOOST_TEST(cause.status == 400);
  BOOST_TEST(cause.type == "invalid_request_error");
  BOOST_TEST(cause.param.value_or("") == param);
  BOOST_TEST(cause.code == code);
  const auto leaf = param.substr(param.rfind('.') + 1);
  BOOST_TEST_INFO(cause.message);
  BOOST_TEST(cause.message.find(leaf) != std::string::npos);
  BOOST_TEST(cause.message.find('\n') == std::string::npos);
}

/// A value that must not be there: refused under this name and code.
struct bad_value {
  std::string_view field;
  std::string_view value; // JSON
  std::string_view code = "invalid_value";
  std::string_view param; // where it is not the field
};

template <class Parse>
void check_bad_values(std::string_view body, std::span<const bad_value> table, Parse parse) {
  for (const auto& bad : table) {
    BOOST_TEST_INFO(bad.field << " = " << bad.value);
    const auto request = parse(with(body, bad.field, bad.value));
    BOOST_REQUIRE_MESSAGE(!request.has_value(), bad.field << " = " << bad.value << " is accepted");
    BOOST_TEST_CONTEXT(bad.field << " = " << bad.value) {
      check_refusal(request.error(), bad.param.empty() ? bad.field : bad.param, bad.code);
    }
  }
}

/// What completions and chats refuse alike.
inline constexpr auto bad_shared_values = std::to_array<bad_value>({
    {"temperature", "2.1"},
    {"temperature", "-0.1"},
    {"temperature", "\"hot\""},
    {"temperature", "true"},
    {"top_p", "0"},
    {"top_p", "1.1"},
    {"top_p", "1e300"},
    {"top_k", "-2"},
    {"top_k", "1.5"},
    {"top_k", "99999999999"},
    {"min_p", "1.5"},
    {"repetition_penalty", "0"},
    {"presence_penalty", "2.5"},
    {"frequency_penalty", "-2.5"},
    {"logit_bias", "[]"},
    {"logit_bias", R"({"x":1})"},
    {"logit_bias", R"({"3":"1"})"},
    {"logit_bias", R"({"3":1,"03":1})"},
    {"seed", "-2"},
    {"seed", "1.5"},
    {"stop", "[1]"},
    {"stop", R"(["a","b","c","d","e"])"},
    {"stop", R"("")"},
    {"stop_token_ids", "[-1]"},
    {"stop_token_ids", "7"},
    {"include_stop_str_in_output", "1"},
    {"min_tokens", "-1"},
    {"max_tokens", "0"},
    {"max_tokens", "2.5"},
    {"ignore_eos", "\"no\""},
    {"n", "0"},
    {"n", "100000"},
    {"skip_special_tokens", "0"},
    {"priority", "\"high\""},
    {"stream", "1"},
    {"stream_options", "true"},
    {"stream_options", R"({"include_usage":true})"}, // without a stream
    {"add_special_tokens", "\"yes\""},
    {"user", "7"},
    {"response_format", R"({"type":"json_object"})", "unsupported_parameter"},
    {"use_beam_search", "true", "unsupported_parameter"},
    {"length_penalty", "0.5", "unsupported_parameter"},
    {"bad_words", R"(["x"])", "unsupported_parameter"},
    {"allowed_token_ids", "[1]", "unsupported_parameter"},
    {"prompt_logprobs", "1", "unsupported_parameter"},
    {"truncate_prompt_tokens", "4", "unsupported_parameter"},
    {"structured_outputs", "{}", "unsupported_parameter"},
    {"cache_salt", "\"x\"", "unsupported_parameter"},
    {"guided_json", "{}", "unknown_parameter"},
    {"temprature", "1", "unknown_parameter"},
    {"temprature", "null", "unknown_parameter"},
});

} // namespace vdist::testing
