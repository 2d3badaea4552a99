#include "runtime/config/toml.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string>

namespace vdist::config {

namespace {

bool fails_an_assertion(std::string_view text) {
  try {
    static_cast<void>(toml::parse(text));
  } catch (const parser_assertion&) {
    return true;
  } catch (const toml::parse_error&) {
    return false;
  }
  return false;
}

/// First `count` lines of a text.
std::string_view first_lines(std::string_view text, std::size_t count) {
  std::size_t end = 0;
  for (; count > 0 && end != std::string_view::npos; --count) {
    end = text.find('\n', end);
    end = end == std::string_view::npos ? end : end + 1;
  }
  return text.substr(0, end);
}

/// An assertion does not say where it failed. It fails at the first mistake, so a beginning of the
/// text fails it if and only if it holds the line: the line is found by halving.
std::size_t asserting_line(std::string_view text) {
  std::size_t below = 0; // so many lines do not fail
  std::size_t above =
      static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1; // so many do
  while (above - below > 1) {
    const std::size_t middle = below + (above - below) / 2;
    (fails_an_assertion(first_lines(text, middle)) ? above : below) = middle;
  }
  return above;
}

error not_toml(std::string_view where, std::string_view why) {
  std::string text = fmt::format("{}: not valid toml: {}", where, why);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return fail(errc::bad_configuration, std::move(text));
}

} // namespace

result<toml::table> parse_toml(std::string_view text, std::string_view name, line_numbers lines) {
  const auto where = [&name, lines](std::size_t line) {
    return lines == line_numbers::shown ? fmt::format("{}:{}", name, line) : std::string(name);
  };
  try {
    return toml::table(toml::parse(text));
  } catch (const toml::parse_error& e) {
    return not_toml(where(e.source().begin.line), e.description());
  } catch (const parser_assertion&) {
    return not_toml(where(asserting_line(text)), "a key or value was expected");
  }
}

} // namespace vdist::config
