// runtime/base/result.hpp — value or error, for everything that can be expected to go wrong.
// One list of error codes for the whole project (ARCHITECTURE.md, decisions): codes travel in
// messages and become exit codes, so they must mean one thing everywhere. Becomes std::expected
// with C++23.
#pragma once

#include "runtime/base/check.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace vdist {

/// What went wrong, coarse enough to act on; the text says the rest. Numbers are stable: they are
/// sent in messages.
enum class errc : std::int16_t {
  ok = 0,
  invalid_argument = 1,   // a caller's value is outside its legal range
  bad_configuration = 2,  // cluster.toml, --set or the combination of settings
  unsupported = 3,        // legal, but this build or model cannot do it
  not_found = 4,          // a file, key, device or peer does not exist
  corrupt = 5,            // bytes from outside do not have the promised form
  resource_exhausted = 6, // memory, blocks, ports, disk
  queue_full = 7,         // a bounded queue refused; try again later
  timed_out = 8,          // a deadline passed
  stale = 9,              // an epoch, incarnation or sequence of the past
  aborted = 10,           // the work was fenced by a recovery
  closed = 11,            // the peer or channel has gone
  cancelled = 12,         // the client or an operator asked for the end
  io_failed = 13,         // the operating system refused
  internal = 14,          // a defect on our side, reported instead of hidden
  device_failed =
      15, // a device broke off what this process gave it: another process may use it again
  device_lost = 16, // a device must not be used any more
};

/// The last one of the list.
inline constexpr errc errc_last = errc::device_lost;

/// Lower-case name of the code, for log lines.
[[nodiscard]] std::string_view to_string(errc code) noexcept;

/// Exit code of a program that ends with this error: 2 configuration, 3 missing resource, 4
/// otherwise.
[[nodiscard]] int exit_code(errc code) noexcept;

/// An error code with one line of text, `operation: cause (key=value)`, lower case, no full stop.
struct [[nodiscard]] error {
  errc code = errc::internal;
  std::string context;
};

/// `error` with a formatted context is made by fail(errc, fmt::format(…)).
[[nodiscard]] inline error fail(errc code, std::string context) {
  return error{code, std::move(context)};
}

/// Either a T or an error. Reading the wrong side is a broken invariant.
template <class T>
class [[nodiscard]] result {
public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return value;` and `return fail(…);` are the
  // point
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}

  // NOLINTNEXTLINE(google-explicit-constructor)
  result(vdist::error e) : state_(std::in_place_index<1>, std::move(e)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] T& value() & {
    VDIST_CHECK(has_value(), "result: value() of an error");
    return std::get<0>(state_);
  }

  [[nodiscard]] const T& value() const& {
    VDIST_CHECK(has_value(), "result: value() of an error");
    return std::get<0>(state_);
  }

  [[nodiscard]] T&& value() && {
    VDIST_CHECK(has_value(), "result: value() of an error");
    return std::get<0>(std::move(state_));
  }

  T& operator*() & { return value(); }

  const T& operator*() const& { return value(); }

  T&& operator*() && { return std::move(*this).value(); }

  T* operator->() { return &value(); }

  const T* operator->() const { return &value(); }

  [[nodiscard]] const vdist::error& error() const {
    VDIST_CHECK(!has_value(), "result: error() of a value");
    return std::get<1>(state_);
  }

private:
  std::variant<T, vdist::error> state_;
};

/// result<void>: success, or an error. Success never allocates.
template <>
class [[nodiscard]] result<void> {
public:
  result() = default;

  // NOLINTNEXTLINE(google-explicit-constructor)
  result(vdist::error e) : error_(std::move(e)) {
    VDIST_CHECK(error_.code != errc::ok, "result: an error must not be ok");
  }

  [[nodiscard]] bool has_value() const noexcept { return error_.code == errc::ok; }

  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] const vdist::error& error() const {
    VDIST_CHECK(!has_value(), "result: error() of a value");
    return error_;
  }

private:
  vdist::error error_{errc::ok, {}};
};

} // namespace vdist

/// VDIST_TRY(expression of result<…>): returns its error from the enclosing function.
#define VDIST_TRY(...)                                                                             \
  do {                                                                                             \
    if (auto vdist_try_result = (__VA_ARGS__); !vdist_try_result) [[unlikely]] {                   \
      return vdist_try_result.error();                                                             \
    }                                                                                              \
  } while (false)

#define VDIST_CONCAT_INNER(a, b) a##b
#define VDIST_CONCAT(a, b) VDIST_CONCAT_INNER(a, b)

/// VDIST_ASSIGN(auto x, expression of result<T>): declares x, or returns the error.
#define VDIST_ASSIGN(declaration, ...)                                                             \
  VDIST_ASSIGN_INNER(VDIST_CONCAT(vdist_assign_, __LINE__), declaration, __VA_ARGS__)
#define VDIST_ASSIGN_INNER(temporary, declaration, ...)                                            \
  auto temporary = (__VA_ARGS__);                                                                  \
  if (!temporary) [[unlikely]] {                                                                   \
    return temporary.error();                                                                      \
  }                                                                                                \
  declaration = std::move(temporary).value()
