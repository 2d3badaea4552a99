// vdist/expected.hpp — a value, or why there is none: errors of the public API. Nothing of it throws.
//
//   auto stream = engine.generate({.prompt = "Once upon a time"});
//   if (!stream) {
//     std::fprintf(stderr, "%s\n", stream.error().message.c_str());
//   }
//
// E-1 Reading the side that is not there ends the process (std::abort): ask first.
// Threads: as a std::variant, one object is for one thread at a time.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace vdist {
inline namespace v0 { // the version of the binary interface: libvdist.so exports what is in it

/// What went wrong, coarse enough to act on; the message says the rest. Numbers are stable.
enum class error_code : std::int16_t {
  none = 0,
  invalid_argument = 1, // a value of the request or of the call is outside its legal range
  bad_configuration =
      2,           // of the configuration: the message names file, line, key and what is legal
  unsupported = 3, // legal, but this build or model cannot do it
  not_found = 4,   // a file, model, device or program does not exist
  corrupt = 5,     // a file of the model does not have the promised form
  resource_exhausted = 6, // memory, blocks, threads
  queue_full = 7,         // too many requests are under way; try again later
  timed_out = 8,          // the deadline passed; what was waited for may still come
  closed = 11,            // the engine drains, is closed, or has no worker left
  cancelled = 12,         // called off by the caller
  io_failed = 13,         // the operating system refused
  internal = 14,          // a defect of vdist
  not_ready = 64,         // the model is being loaded (engine_options::waits_until_ready = false)
};

/// Lower-case name of the code. Any thread.
[[nodiscard]] std::string_view to_string(error_code code) noexcept;

/// `message`: one line, `operation: cause (key=value)`, for people.
struct [[nodiscard]] engine_error {
  error_code code = error_code::internal;
  std::string message = {};
};

/// Either a T or an engine_error; a small std::expected (C++23).
template <class T>
class [[nodiscard]] expected {
public:
  using value_type = T;

  // Implicit, both: `return value;` and `return engine_error{…};` are the point.
  expected(T value)
      : state_(std::in_place_index<0>, std::move(value)) {} // NOLINT(google-explicit-constructor)

  expected(engine_error cause) // NOLINT(google-explicit-constructor)
      : state_(std::in_place_index<1>, std::move(cause)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] T& value() & { return *check(std::get_if<0>(&state_)); }

  [[nodiscard]] const T& value() const& { return *check(std::get_if<0>(&state_)); }

  [[nodiscard]] T&& value() && { return std::move(*check(std::get_if<0>(&state_))); }

  [[nodiscard]] T& operator*() & { return value(); }

  [[nodiscard]] const T& operator*() const& { return value(); }

  [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }

  [[nodiscard]] T* operator->() { return &value(); }

  [[nodiscard]] const T* operator->() const { return &value(); }

  [[nodiscard]] const engine_error& error() const& { return *check(std::get_if<1>(&state_)); }

  [[nodiscard]] engine_error&& error() && { return std::move(*check(std::get_if<1>(&state_))); }

private:
  template <class Side>
  static Side* check(Side* side) {
    if (side == nullptr) {
      std::abort(); // E-1
    }
    return side;
  }

  std::variant<T, engine_error> state_;
};

/// Success, or an error.
template <>
class [[nodiscard]] expected<void> {
public:
  using value_type = void;

  expected() = default;

  /// A code of `none` is success.
  expected(engine_error cause) : cause_(std::move(cause)) {} // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool has_value() const noexcept { return cause_.code == error_code::none; }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] const engine_error& error() const& {
    if (has_value()) {
      std::abort(); // E-1
    }
    return cause_;
  }

private:
  engine_error cause_{error_code::none, {}};
};

} // namespace v0
} // namespace vdist
