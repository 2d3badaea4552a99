// runtime/text/jinja/format.hpp — Python's formatting: `text % values` and `text.format(values)`.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

/// How one value is laid out: Python's format specification, [[fill]align][sign][#][0][width]
/// [,_][.precision][type].
struct format_specification {
  static constexpr std::size_t width_max = 1'000'000;
  static constexpr std::size_t precision_max = 1'000;

  std::string_view fill = " ";
  char align = '\0'; // < > ^ = or none
  char sign = '-';   // + - or a space
  bool is_alternate = false;
  char grouping = '\0'; // , _ or none
  std::size_t width = 0;
  std::optional<std::size_t> precision;
  char type = '\0';
};

[[nodiscard]] format_specification parse_specification(std::string_view text);

/// Numbers as text, padded.
void append_formatted(std::pmr::string& out, integer i, const format_specification& as);
void append_formatted(std::pmr::string& out, double r, const format_specification& as);
/// `text` cut to the precision and padded; to the left unless it is said otherwise.
void append_padded(std::pmr::string& out, std::string_view text, const format_specification& as);

/// text % values: one value, a tuple of them, or a dict for %(name)s.
[[nodiscard]] value percent_format(workspace& space, std::string_view text, const value& values);
/// text.format(…): {} {0} {name} {0.attribute} {0[key]} {!r} {:specification}
[[nodiscard]] value
brace_format(workspace& space, std::string_view text, const call_arguments& values);

} // namespace vdist::text::jinja
