// runtime/config/toml.hpp — the TOML parser, made safe for files that people type. Internal to the
// folder's sources. toml++ 3.3 checks some input with assertions ("[=" as a table header, for
// instance), which would end the program in one build and be undefined in another. Here they throw
// in every build. Every source includes this header and never toml++ itself, so that all of them
// are compiled from the same definitions.
#pragma once

#include "runtime/base/result.hpp"

#include <stdexcept>
#include <string_view>

namespace vdist::config {

/// An assertion of the parser failed.
struct parser_assertion : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void throw_parser_assertion(const char* condition) {
  throw parser_assertion(condition);
}

} // namespace vdist::config

#define TOML_ASSERT(expr) ((expr) ? void() : ::vdist::config::throw_parser_assertion(#expr))
// With NDEBUG the parser would tell the compiler to assume what it asserts.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace vdist::config {

/// Whether messages name the line: yes for files, no for the one line of an override.
enum class line_numbers : bool { hidden, shown };

/// Parses a text; `name` stands for the file in messages. Error: bad_configuration, "name:line: not
/// valid toml: …".
[[nodiscard]] result<toml::table>
parse_toml(std::string_view text, std::string_view name, line_numbers lines = line_numbers::shown);

} // namespace vdist::config
