// runtime/text/jinja/number_text.hpp — numbers to and from text, as Python writes and reads them.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

/// repr() of a float: the shortest digits that read back as the same number.
[[nodiscard]] std::string repr_of_real(double r);

/// Digits of |i| in base 2, 8, 10 or 16, without sign or prefix.
[[nodiscard]] std::string digits_of(integer i, unsigned base = 10);
[[nodiscard]] std::string text_of(integer i);

/// int(text, base): white space around it, underscores between digits, 0x 0o 0b for base 0 and
/// their own. Nothing when it is no integer; throws template_error when it is out of range.
[[nodiscard]] std::optional<integer> parse_integer(std::string_view text, unsigned base);
/// float(text)
[[nodiscard]] std::optional<double> parse_real(std::string_view text);

/// int(r). Throws template_error for what has no integer part, or too large a one.
[[nodiscard]] integer truncated(double r);

} // namespace vdist::text::jinja
