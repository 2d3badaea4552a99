#include "runtime/text/jinja/format.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/template_error.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

std::size_t take_number(std::string_view& text, std::size_t max) {
  std::size_t number = 0;
  while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    number = number * 10 + static_cast<std::size_t>(text[0] - '0');
    if (number > max) {
      refuse(fmt::format("format specification: number too large (max={})", max));
    }
    text.remove_prefix(1);
  }
  return number;
}

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

/// Digits with a separator between groups, counted from the point.
std::string grouped(std::string_view digits, char separator, std::size_t group) {
  const auto point = digits.find_first_not_of("0123456789abcdefABCDEF");
  const auto whole = digits.substr(0, point);
  std::string made;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (i > 0 && (whole.size() - i) % group == 0) {
      made += separator;
    }
    made += whole[i];
  }
  return made + std::string(digits.substr(whole.size()));
}

/// Sign, digits and padding of a number; `prefix` stands between sign and digits.
void append_number(std::pmr::string& out,
                   bool is_negative,
                   std::string_view prefix,
                   std::string_view digits,
                   const format_specification& as) {
  std::string head = is_negative ? "-" : as.sign == '-' ? "" : std::string(1, as.sign);
  head += prefix;
  auto layout = as;
  layout.precision.reset();
  layout.align = as.align == '\0' ? '>' : as.align;
  if (layout.align != '=') {
    return append_padded(out, head + std::string(digits), layout);
  }
  out += head;
  layout.width -= std::min(layout.width, head.size());
  layout.align = '>';
  append_padded(out, digits, layout);
}

std::string to_text(double r, std::chars_format form, std::size_t precision) {
  std::string buffer(precision + 400, '\0'); // 309 digits before the point at most
  const auto end =
      std::to_chars(
          buffer.data(), buffer.data() + buffer.size(), r, form, static_cast<int>(precision))
          .ptr;
  buffer.resize(static_cast<std::size_t>(end - buffer.data()));
  return buffer;
}

/// Without a type but with a precision: like g, with a digit behind the point.
std::string general_with_point(double r, std::size_t precision) {
  const auto scientific = to_text(r, std::chars_format::scientific, precision - 1);
  const auto e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  auto text = to_text(r, std::chars_format::general, precision);
  if (exponent >= static_cast<int>(precision) - 1 && text.find('e') == std::string::npos) {
    auto mantissa = scientific.substr(0, e);
    while (mantissa.find('.') != std::string::npos
           && (mantissa.ends_with('0') || mantissa.ends_with('.'))) {
      mantissa.pop_back();
    }
    return mantissa + scientific.substr(e);
  }
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string digits_of_real(double r, const format_specification& as) {
  const auto precision = as.precision.value_or(6);
  switch (as.type) {
  case 'e':
  case 'E':
    return to_text(r, std::chars_format::scientific, precision);
  case 'f':
  case 'F':
    return to_text(r, std::chars_format::fixed, precision);
  case '%':
    return to_text(r * 100, std::chars_format::fixed, precision) + "%";
  case 'g':
  case 'G':
  case 'n':
    return to_text(r, std::chars_format::general, std::max<std::size_t>(precision, 1));
  default:
    return as.precision ? general_with_point(r, std::max<std::size_t>(precision, 1))
                        : repr_of_real(r);
  }
}

} // namespace

format_specification parse_specification(std::string_view text) {
  format_specification made;
  if (text.empty()) {
    return made;
  }
  const auto first = code_point_at(text, 0).bytes;
  if (text.size() > first && is_align(text[first])) {
    made.fill = text.substr(0, first);
    made.align = text[first];
    text.remove_prefix(first + 1);
  } else if (is_align(text[0])) {
    made.align = text[0];
    text.remove_prefix(1);
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    made.sign = text[0];
    text.remove_prefix(1);
  }
  if (text.starts_with('#')) {
    made.is_alternate = true;
    text.remove_prefix(1);
  }
  if (text.starts_with('0')) {
    if (made.align == '\0') {
      made.fill = "0";
      made.align = '=';
    }
    text.remove_prefix(1);
  }
  made.width = take_number(text, format_specification::width_max);
  if (!text.empty() && (text[0] == ',' || text[0] == '_')) {
    made.grouping = text[0];
    text.remove_prefix(1);
  }
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (text.empty() || text[0] < '0' || text[0] > '9') {
      refuse("format specifier missing precision");
    }
    made.precision = take_number(text, format_specification::precision_max);
  }
  if (text.size() > 1) {
    refuse("invalid format specifier");
  }
  made.type = text.empty() ? '\0' : text[0];
  return made;
}

void append_padded(std::pmr::string& out, std::string_view text, const format_specification& as) {
  if (as.precision) {
    text = text.substr(0, offset_of_character(text, *as.precision));
  }
  const auto length = count_characters(text);
  const auto missing = as.width > length ? as.width - length : 0;
  const auto before = as.align == '>' || as.align == '=' ? missing
                      : as.align == '^'                  ? missing / 2
                                                         : 0;
  const auto fill = [&out, &as](std::size_t count) {
    for (; count > 0; --count) {
      out += as.fill;
    }
  };
  fill(before);
  out += text;
  fill(missing - before);
}

void append_formatted(std::pmr::string& out, integer i, const format_specification& as) {
  unsigned base = 10;
  std::string_view prefix;
  switch (as.type) {
  case '\0':
  case 'd':
  case 'n':
    break;
  case 'x':
  case 'X':
    base = 16;
    prefix = as.type == 'x' ? "0x" : "0X";
    break;
  case 'o':
    base = 8;
    prefix = "0o";
    break;
  case 'b':
    base = 2;
    prefix = "0b";
    break;
  case 'c': {
    if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i < 0xE000)) {
      refuse("%c arg not in range(0x110000)");
    }
    std::string one;
    append_utf8(one, static_cast<char32_t>(i));
    return append_padded(out, one, as);
  }
  case 'e':
  case 'E':
  case 'f':
  case 'F':
  case 'g':
  case 'G':
  case '%':
    return append_formatted(out, static_cast<double>(i), as);
  default:
    refuse(fmt::format("unknown format code '{}' for object of type 'int'", as.type));
  }
  if (as.precision) {
    refuse("precision not allowed in integer format specifier");
  }
  auto digits = digits_of(i, base);
  if (as.type == 'X') {
    digits = upper(digits);
  }
  if (as.grouping != '\0') {
    digits = grouped(digits, as.grouping, base == 10 ? 3 : 4);
  }
  append_number(out, i < 0, as.is_alternate ? prefix : "", digits, as);
}

void append_formatted(std::pmr::string& out, double r, const format_specification& as) {
  constexpr std::string_view types = "eEfFgGn%";
  if (as.type != '\0' && types.find(as.type) == std::string_view::npos) {
    refuse(fmt::format("unknown format code '{}' for object of type 'float'", as.type));
  }
  if (as.is_alternate) {
    refuse("alternate form of floats is unsupported");
  }
  const bool is_upper = as.type == 'E' || as.type == 'F' || as.type == 'G';
  std::string digits;
  if (std::isfinite(r)) {
    digits = digits_of_real(std::fabs(r), as);
    if (as.grouping != '\0') {
      digits = grouped(digits, as.grouping, 3);
    }
  } else {
    digits = std::isnan(r) ? "nan" : "inf";
    digits += as.type == '%' ? "%" : "";
  }
  append_number(out, std::signbit(r) && !std::isnan(r), "", is_upper ? upper(digits) : digits, as);
}

} // namespace vdist::text::jinja
