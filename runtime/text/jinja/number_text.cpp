#include "runtime/text/jinja/number_text.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/template_error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace vdist::text::jinja {
namespace {

using magnitude = unsigned __int128;

/// Digits with single underscores between them, without those; nothing when one is misplaced.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string made;
  char before = '_';
  for (const char c : text) {
    if (c != '_') {
      made += c;
    } else if (before == '_') {
      return std::nullopt;
    }
    before = c;
  }
  return before == '_' ? std::nullopt : std::optional(std::move(made));
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char low = static_cast<char>(c | 0x20);
  return low >= 'a' && low <= 'z' ? low - 'a' + 10 : 99;
}

/// The base that a prefix names; 0 without one.
unsigned prefix_base(std::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') {
    return 0;
  }
  const char letter = static_cast<char>(digits[1] | 0x20);
  return letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
}

} // namespace

std::string repr_of_real(double r) {
  if (std::isnan(r)) {
    return "nan";
  }
  if (std::isinf(r)) {
    return r > 0 ? "inf" : "-inf";
  }
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), r, std::chars_format::scientific)
          .ptr;
  const std::string_view shortest(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const auto e = shortest.find('e');
  int exponent = 0;
  const auto* digits_of_exponent = shortest.data() + e + 1;
  digits_of_exponent += *digits_of_exponent == '+' ? 1 : 0;
  std::from_chars(digits_of_exponent, end, exponent);
  if (exponent < -4 || exponent >= 16) {
    return std::string(shortest);
  }
  const auto plain =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), r, std::chars_format::fixed).ptr;
  std::string text(buffer.data(), plain);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string digits_of(integer i, unsigned base) {
  auto left = i < 0 ? ~static_cast<magnitude>(i) + 1 : static_cast<magnitude>(i);
  std::string text;
  do {
    text += "0123456789abcdef"[static_cast<unsigned>(left % base)];
    left /= base;
  } while (left != 0);
  std::reverse(text.begin(), text.end());
  return text;
}

std::string text_of(integer i) {
  return (i < 0 ? "-" : "") + digits_of(i);
}

std::optional<integer> parse_integer(std::string_view text, unsigned base) {
  text = strip_right(strip_left(text));
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  const auto named = prefix_base(text);
  const bool is_any = base == 0;
  if (named != 0 && (is_any || named == base)) {
    base = named;
    text.remove_prefix(text.size() > 2 && text[2] == '_' ? 3 : 2);
  } else if (is_any) {
    base = 10;
  }
  const auto digits = without_underscores(text);
  if (!digits || digits->empty()) {
    return std::nullopt;
  }
  integer made = 0;
  bool is_out = false;
  for (const char c : *digits) {
    const int digit = digit_value(c);
    if (digit >= static_cast<int>(base)) {
      return std::nullopt;
    }
    is_out = is_out || __builtin_mul_overflow(made, static_cast<integer>(base), &made)
             || __builtin_add_overflow(made, static_cast<integer>(digit), &made);
  }
  if (is_any && named == 0 && digits->front() == '0' && made != 0) {
    return std::nullopt; // as Python: 012 is no number
  }
  if (is_out) {
    refuse("integer out of range");
  }
  return is_negative ? -made : made;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip_right(strip_left(text));
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || digits->front() == '-') {
    return std::nullopt;
  }
  const auto low = lower(*digits);
  double made = 0;
  if (low == "nan" || low == "inf" || low == "infinity") {
    made = low == "nan" ? std::nan("") : HUGE_VAL;
  } else {
    if (low.front() != '.' && (low.front() < '0' || low.front() > '9')) {
      return std::nullopt; // other names that from_chars knows
    }
    const auto [end, code] = std::from_chars(low.data(), low.data() + low.size(), made);
    if (end != low.data() + low.size() || code == std::errc::invalid_argument) {
      return std::nullopt;
    }
    if (code == std::errc::result_out_of_range) {
      made = std::strtod(low.c_str(), nullptr); // 0 or infinity
    }
  }
  return is_negative ? -made : made;
}

integer truncated(double r) {
  if (std::isnan(r)) {
    refuse("cannot convert float NaN to integer");
  }
  if (std::isinf(r)) {
    refuse("cannot convert float infinity to integer");
  }
  if (std::fabs(r) >= 0x1p127) {
    refuse("integer out of range");
  }
  return static_cast<integer>(r);
}

} // namespace vdist::text::jinja
