#include "runtime/api/openai/response_text.hpp"

#include "runtime/api/json.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace vdist::api::openai {

namespace {

/// Digits of any float or 64-bit integer.
constexpr std::size_t digits_max = 32;

template <class Number>
void append_digits(std::string& out, Number number) {
  std::array<char, digits_max> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

} // namespace

std::string completion_id(std::uint64_t high, std::uint64_t low) {
  return fmt::format("cmpl-{:016x}{:016x}", high, low);
}

std::string chat_id(std::uint64_t high, std::uint64_t low) {
  return fmt::format("chatcmpl-{:016x}{:016x}", high, low);
}

std::string_view finish_word(protocol::finish_reason reason) noexcept {
  switch (reason) {
  case protocol::finish_reason::stop:
    return "stop";
  case protocol::finish_reason::length:
    return "length";
  case protocol::finish_reason::cancelled:
    return "abort";
  case protocol::finish_reason::failed:
    return "error";
  case protocol::finish_reason::none:
    break;
  }
  return {};
}

void append_number(std::string& out, std::int64_t number) {
  append_digits(out, number);
}

void append_logprob(std::string& out, float logprob) {
  if (std::isfinite(logprob)) {
    append_digits(out, logprob);
  } else {
    out += "-9999.0"; // what the OpenAI API writes for a token that cannot occur
  }
}

std::string opened(const response_head& head, std::string_view object) {
  std::string out = R"({"id":)";
  append_json_string(out, head.id);
  out += R"(,"object":)";
  append_json_string(out, object);
  out += R"(,"created":)";
  append_number(out, head.created);
  out += R"(,"model":)";
  append_json_string(out, head.model);
  if (!head.system_fingerprint.empty()) {
    out += R"(,"system_fingerprint":)";
    append_json_string(out, head.system_fingerprint);
  }
  out += R"(,"choices":[)";
  return out;
}

void append_usage(std::string& out, const usage& spent) {
  out += R"({"prompt_tokens":)";
  append_number(out, spent.prompt_tokens);
  out += R"(,"total_tokens":)";
  append_number(out, spent.prompt_tokens + spent.completion_tokens);
  out += R"(,"completion_tokens":)";
  append_number(out, spent.completion_tokens);
  if (spent.cached_tokens) {
    out += R"(,"prompt_tokens_details":{"cached_tokens":)";
    append_number(out, *spent.cached_tokens);
    out += '}';
  }
  out += '}';
}

void append_end(std::string& out, const choice_text& choice) {
  out += R"("finish_reason":)";
  const auto word = finish_word(choice.reason);
  if (word.empty()) {
    out += "null";
    return;
  }
  append_json_string(out, word);
  out += R"(,"stop_reason":)";
  if (const auto* const id = std::get_if<token_id>(&choice.stopped_by)) {
    append_number(out, *id);
  } else if (const auto* const text = std::get_if<std::string_view>(&choice.stopped_by)) {
    append_json_string(out, *text);
  } else {
    out += "null";
  }
}

} // namespace vdist::api::openai
