// runtime/api/openai/api_error.hpp — what a client is told when its request fails: OpenAI's error object and the HTTP
// status that goes with it.
#pragma once

#include "runtime/base/result.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace vdist::api::openai {

struct [[nodiscard]] api_error {
  int status = 500; // of HTTP
  std::string type; // coarse, as OpenAI names them: invalid_request_error, server_error, …
  std::optional<std::string>
      param; // path of what is wrong: top_p, messages[2].content; nullopt: nothing of the body
  std::string code;    // for programs: unknown_parameter, model_not_found, …
  std::string message; // for people, one line

  friend bool operator==(const api_error&, const api_error&) = default;
};

/// 400: a value of the body is wrong. `param` may be empty: the body as a whole.
[[nodiscard]] api_error invalid_value(std::string_view param, std::string message);
/// 400: the API or its extensions have the parameter or the value, this server has not.
[[nodiscard]] api_error unsupported_parameter(std::string_view param, std::string message);
[[nodiscard]] api_error unknown_parameter(std::string_view param);
[[nodiscard]] api_error missing_parameter(std::string_view param, std::string_view what);
[[nodiscard]] api_error model_not_found(std::string_view model);

/// What the engine says to a request, for a client: 400 for invalid_argument, 429 when queues are full, 503 when it
/// is closed (drains, or has no replica), 504, 500 … `param` as in invalid_value().
[[nodiscard]] api_error of_engine(const error& cause, std::string_view param = {});

/// Appends {"error": {"message", "type", "param", "code"}}, the body of an answer or the data of an SSE event.
void append_error(std::string& out, const api_error& cause);

/// Either a T or what to tell the client. As vdist::result: VDIST_TRY and VDIST_ASSIGN take it.
template <class T>
class [[nodiscard]] answer {
public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return value;` and `return invalid_value(…);` are the point
  answer(T value) : state_(std::in_place_index<0>, std::move(value)) {}

  // NOLINTNEXTLINE(google-explicit-constructor)
  answer(api_error cause) : state_(std::in_place_index<1>, std::move(cause)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] T& value() & {
    VDIST_CHECK(has_value(), "answer: value() of an error");
    return std::get<0>(state_);
  }

  [[nodiscard]] const T& value() const& {
    VDIST_CHECK(has_value(), "answer: value() of an error");
    return std::get<0>(state_);
  }

  [[nodiscard]] T&& value() && {
    VDIST_CHECK(has_value(), "answer: value() of an error");
    return std::get<0>(std::move(state_));
  }

  const T& operator*() const& { return value(); }

  T&& operator*() && { return std::move(*this).value(); }

  const T* operator->() const { return &value(); }

  [[nodiscard]] const api_error& error() const {
    VDIST_CHECK(!has_value(), "answer: error() of a value");
    return std::get<1>(state_);
  }

private:
  std::variant<T, api_error> state_;
};

/// Success, or what to tell the client.
template <>
class [[nodiscard]] answer<void> {
public:
  answer() = default;

  // NOLINTNEXTLINE(google-explicit-constructor)
  answer(api_error cause) : error_(std::move(cause)) {}

  [[nodiscard]] bool has_value() const noexcept { return !error_.has_value(); }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] const api_error& error() const {
    VDIST_CHECK(!has_value(), "answer: error() of a value");
    return *error_;
  }

private:
  std::optional<api_error> error_;
};

/// A result whose error is one of this parameter's value.
template <class T>
[[nodiscard]] answer<T> value_of(std::string_view param, result<T> read) {
  if (!read) {
    return invalid_value(param, read.error().context);
  }
  return std::move(read).value();
}

} // namespace vdist::api::openai
