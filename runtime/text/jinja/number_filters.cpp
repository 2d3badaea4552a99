// Filters that take or make numbers, and `default`.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

value filter_abs(workspace& space, const bound_arguments& given) {
  require_defined(given[0]);
  if (!given[0].is_number()) {
    refuse(fmt::format("bad operand type for abs(): '{}'", type_name(given[0])));
  }
  if (given[0].is(kind::real)) {
    return value::real(std::fabs(given[0].as_real()));
  }
  return given[0].as_integer() < 0 ? unary(space, unary_operator::negative, given[0])
                                   : value::number(given[0].as_integer());
}

/// float(x); nothing where Python raises TypeError or ValueError.
std::optional<double> real_of(const value& one) {
  require_defined(one);
  if (one.is_string()) {
    return parse_real(one.as_string());
  }
  return one.is_number() ? std::optional(one.as_real()) : std::nullopt;
}

value filter_float(workspace&, const bound_arguments& given) {
  const auto made = real_of(given[0]);
  return made ? value::real(*made) : given.value_or(1, value::real(0));
}

value filter_int(workspace&, const bound_arguments& given) {
  const auto& one = given[0];
  const auto base = given.value_or(2, value::number(integer{10}));
  require_defined(one);
  if (one.is_integer()) {
    return value::number(one.as_integer());
  }
  if (one.is_string() && base.is_integer()
      && (base.as_integer() == 0 || (base.as_integer() >= 2 && base.as_integer() <= 36))) {
    const auto made = parse_integer(one.as_string(), static_cast<unsigned>(base.as_integer()));
    if (made) {
      return value::number(*made);
    }
  }
  const auto made = real_of(one);
  if (!made || (one.is_string() && !std::isfinite(*made)) || std::isnan(*made)) {
    return given.value_or(1, value::number(integer{0}));
  }
  return value::number(truncated(*made)); // infinity as a number is an error, as in jinja2
}

/// 10^n as Python has it.
double power_of_ten(integer n) {
  return std::pow(10.0, static_cast<double>(n));
}

/// round(r, digits): the decimal that is nearest to what r really is.
double rounded(double r, integer digits) {
  if (!std::isfinite(r) || digits > 323) {
    return r;
  }
  if (digits < -308) {
    return std::copysign(0.0, r);
  }
  if (digits < 0) {
    const double unit = power_of_ten(-digits);
    return std::nearbyint(r / unit) * unit;
  }
  char text[700]; // 309 digits, a point, 323 digits
  const auto end =
      std::to_chars(
          std::begin(text), std::end(text), r, std::chars_format::fixed, static_cast<int>(digits))
          .ptr;
  double made = r;
  std::from_chars(std::begin(text), end, made);
  return made;
}

value rounded_integer(workspace& space, integer i, integer digits) {
  if (digits >= 0) {
    return value::number(i);
  }
  if (digits < -38) {
    return value::number(integer{0});
  }
  integer unit = 1;
  for (auto left = -digits; left > 0; --left) {
    unit *= 10;
  }
  const auto rest = ((i % unit) + unit) % unit;
  const auto low =
      arithmetic(space, binary_operator::subtract, value::number(i), value::number(rest));
  const bool is_up = 2 * rest > unit || (2 * rest == unit && (low.as_integer() / unit) % 2 != 0);
  return is_up ? arithmetic(space, binary_operator::add, low, value::number(unit)) : low;
}

value filter_round(workspace& space, const bound_arguments& given) {
  const auto method = given.value_or(2, value::string("common"));
  const auto digits = require_integer(given.value_or(1, value::number(integer{0})), "round");
  const auto name = method.is_string() ? method.as_string() : std::string_view();
  if (name != "common" && name != "ceil" && name != "floor") {
    refuse("method must be common, ceil or floor");
  }
  require_defined(given[0]);
  if (!given[0].is_number()) {
    refuse(fmt::format("type {} doesn't define __round__ method", type_name(given[0])));
  }
  if (name == "common") {
    return given[0].is_integer() ? rounded_integer(space, given[0].as_integer(), digits)
                                 : value::real(rounded(given[0].as_real(), digits));
  }
  if (digits > 308 || digits < -308) {
    refuse("round: precision out of range");
  }
  const double unit = power_of_ten(digits);
  const double scaled = given[0].as_real() * unit;
  if (!std::isfinite(scaled)) {
    refuse("cannot convert float infinity or NaN to integer");
  }
  return value::real((name == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

value filter_default(workspace& space, const bound_arguments& given) {
  const auto* also_false = given.find(2);
  const bool is_replaced =
      given[0].is_undefined()
      || (also_false != nullptr && truth(space, *also_false) && !truth(space, given[0]));
  return is_replaced ? given.value_or(1, value::string("")) : given[0];
}

value filter_filesizeformat(workspace& space, const bound_arguments& given) {
  const auto bytes = real_of(given[0]);
  if (!bytes) {
    refuse("filesizeformat: must be a number");
  }
  const auto* binary = given.find(1);
  const bool is_binary = binary != nullptr && truth(space, *binary);
  const double base = is_binary ? 1024 : 1000;
  if (*bytes == 1) {
    return value::string("1 Byte");
  }
  if (*bytes < base) {
    return space.copy(fmt::format("{} Bytes", text_of(truncated(*bytes))));
  }
  constexpr std::string_view letters = "kMGTPEZY";
  double unit = base;
  std::size_t i = 0;
  while (i + 1 < letters.size() && *bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const char letter = is_binary && i == 0 ? 'K' : letters[i];
  return space.copy(
      fmt::format("{:.1f} {}{}", base * *bytes / (unit * base), letter, is_binary ? "iB" : "B"));
}

constexpr std::array filters{
    builtin{"abs", filter_abs, {"x"}, 1, argument_style::by_position},
    builtin{"d", filter_default, {"value", "default_value", "boolean"}, 1},
    builtin{"default", filter_default, {"value", "default_value", "boolean"}, 1},
    builtin{"filesizeformat", filter_filesizeformat, {"value", "binary"}, 1},
    builtin{"float", filter_float, {"value", "default"}, 1},
    builtin{"int", filter_int, {"value", "default", "base"}, 1},
    builtin{"round", filter_round, {"value", "precision", "method"}, 1},
};
static_assert(is_sorted_by_name(filters));

} // namespace

const builtin* find_number_filter(std::string_view name) {
  return find_builtin(filters, name);
}

} // namespace vdist::text::jinja
