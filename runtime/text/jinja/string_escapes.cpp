#include "runtime/text/jinja/string_escapes.hpp"

#include "runtime/text/jinja/template_error.hpp"
#include "runtime/text/unicode.hpp"

#include <charconv>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

/// The character of a one-letter escape; '\0' when it is none.
char simple_escape(char letter) {
  constexpr std::string_view letters = "\\'\"abfnrtv";
  constexpr std::string_view meanings = "\\'\"\a\b\f\n\r\t\v";
  const auto at = letters.find(letter);
  return at == std::string_view::npos ? '\0' : meanings[at];
}

std::size_t hex_digits_of(char letter) {
  return letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
}

char32_t
hex_escape(std::string_view literal, std::size_t at, std::size_t digits, std::size_t offset) {
  const auto text = literal.substr(at, digits);
  std::uint32_t c = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), c, 16);
  if (text.size() != digits || code != std::errc() || end != text.data() + digits) {
    throw template_error(errc::corrupt, "truncated escape in a string", offset + at);
  }
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
    throw template_error(errc::corrupt, "escape of no character in a string", offset + at);
  }
  return c;
}

} // namespace

std::string unescaped(std::string_view literal, std::size_t offset) {
  std::string made;
  made.reserve(literal.size());
  for (std::size_t i = 0; i < literal.size();) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      made += literal[i++];
      continue;
    }
    const char letter = literal[i + 1];
    if (const char plain = simple_escape(letter); plain != '\0') {
      made += plain;
      i += 2;
    } else if (letter == '\n') {
      i += 2;
    } else if (const auto digits = hex_digits_of(letter); digits != 0) {
      append_utf8(made, hex_escape(literal, i + 2, digits, offset));
      i += 2 + digits;
    } else if (letter >= '0' && letter <= '7') {
      char32_t c = 0;
      std::size_t end = i + 1;
      while (end < literal.size() && end < i + 4 && literal[end] >= '0' && literal[end] <= '7') {
        c = c * 8 + static_cast<char32_t>(literal[end++] - '0');
      }
      append_utf8(made, c);
      i = end;
    } else if (letter == 'N') {
      throw template_error(errc::unsupported, "\\N{…} in a string is unsupported", offset + i);
    } else if (static_cast<unsigned char>(letter) >= 0x80) {
      // jinja2 decodes escapes in ASCII, where this character is an escape itself: the backslash
      // before it takes that one's.
      const auto c = code_point_at(literal, i + 1);
      const auto value = static_cast<std::uint32_t>(c.value);
      made += value < 0x100     ? fmt::format("\\x{:02x}", value)
              : value < 0x10000 ? fmt::format("\\u{:04x}", value)
                                : fmt::format("\\U{:08x}", value);
      i += 1 + c.bytes;
    } else {
      made += '\\';
      ++i;
    }
  }
  return made;
}

} // namespace vdist::text::jinja
