// The arithmetic of Python: integers that do not wrap, floor division, strings and lists that can be
// joined and repeated.
#include "runtime/text/jinja/format.hpp"
#include "runtime/text/jinja/markup.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <cmath>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

std::string_view symbol_of(binary_operator what) {
  switch (what) {
  case binary_operator::add:
    return "+";
  case binary_operator::subtract:
    return "-";
  case binary_operator::multiply:
    return "*";
  case binary_operator::divide:
    return "/";
  case binary_operator::floor_divide:
    return "//";
  case binary_operator::modulo:
    return "%";
  default:
    return "** or pow()";
  }
}

[[noreturn]] void cannot(binary_operator what, const value& a, const value& b) {
  require_defined(a);
  require_defined(b);
  if (what == binary_operator::add && (a.is_string() || a.is_list_or_tuple())) {
    refuse(
        fmt::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(a), type_name(b)));
  }
  refuse(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'",
                     symbol_of(what),
                     type_name(a),
                     type_name(b)));
}

[[noreturn]] void out_of_range() {
  refuse("integer out of range");
}

value integer_power(integer base, integer exponent) {
  if (exponent < 0) {
    if (base == 0) {
      refuse("0.0 cannot be raised to a negative power");
    }
    return value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  integer made = 1;
  bool overflows = false;
  while (exponent > 0 && !overflows) {
    if ((exponent & 1) != 0) {
      overflows = __builtin_mul_overflow(made, base, &made);
    }
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
      overflows = true;
    }
  }
  if (overflows) {
    out_of_range();
  }
  return value::number(made);
}

value integer_arithmetic(binary_operator what, integer a, integer b) {
  integer made = 0;
  const bool is_sum = what == binary_operator::add || what == binary_operator::subtract;
  if (is_sum || what == binary_operator::multiply) {
    const bool overflows = what == binary_operator::add ? __builtin_add_overflow(a, b, &made)
                           : what == binary_operator::subtract
                               ? __builtin_sub_overflow(a, b, &made)
                               : __builtin_mul_overflow(a, b, &made);
    if (overflows) {
      out_of_range();
    }
    return value::number(made);
  }
  if (what == binary_operator::power) {
    return integer_power(a, b);
  }
  if (b == 0) {
    refuse(what == binary_operator::divide ? "division by zero"
                                           : "integer division or modulo by zero");
  }
  if (what == binary_operator::divide) {
    return value::real(static_cast<double>(a) / static_cast<double>(b));
  }
  if (a == integer_min && b == -1) {
    if (what == binary_operator::floor_divide) {
      out_of_range();
    }
    return value::number(integer{0});
  }
  const bool rounds_down = a % b != 0 && (a < 0) != (b < 0);
  return value::number(what == binary_operator::floor_divide ? a / b - (rounds_down ? 1 : 0)
                                                             : a % b + (rounds_down ? b : 0));
}

double floor_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) {
    return std::copysign(0.0, b);
  }
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

value real_arithmetic(binary_operator what, double a, double b) {
  switch (what) {
  case binary_operator::add:
    return value::real(a + b);
  case binary_operator::subtract:
    return value::real(a - b);
  case binary_operator::multiply:
    return value::real(a * b);
  case binary_operator::power: {
    if (a == 0 && b < 0) {
      refuse("0.0 cannot be raised to a negative power");
    }
    if (a < 0 && std::isfinite(b) && b != std::floor(b)) {
      refuse("complex numbers are unsupported");
    }
    const double made = std::pow(a, b);
    if (std::isinf(made) && std::isfinite(a) && std::isfinite(b)) {
      refuse("numerical result out of range");
    }
    return value::real(made);
  }
  default:
    break;
  }
  if (b == 0) {
    refuse(what == binary_operator::divide         ? "float division by zero"
           : what == binary_operator::floor_divide ? "float floor division by zero"
                                                   : "float modulo");
  }
  if (what == binary_operator::divide) {
    return value::real(a / b);
  }
  const double rest = floor_modulo(a, b);
  if (what == binary_operator::modulo) {
    return value::real(rest);
  }
  const double quotient = (a - rest) / b;
  const double whole = std::floor(quotient);
  return value::real(quotient == 0 ? std::copysign(0.0, a / b)
                                   : whole + (quotient - whole > 0.5 ? 1.0 : 0.0));
}

value repeated(workspace& space, const value& one, integer times) {
  const auto count = static_cast<std::uint64_t>(
      times < 0 ? 0
                : std::min(times, static_cast<integer>(space.options().limits.memory_bytes_max)));
  if (one.is_string()) {
    auto made = space.text();
    const auto text = one.as_string();
    if (!text.empty()) {
      made.reserve(std::min(text.size(), std::uint64_t{1} << 32U) * count);
      for (std::uint64_t i = 0; i < count; ++i) {
        space.spend_bytes(text.size());
        made += text;
      }
    }
    const auto done = space.done(std::move(made));
    return one.is_markup() ? value::markup(done.as_string()) : done;
  }
  auto* made = space.make_list();
  const auto& all = one.as_list();
  for (std::uint64_t i = 0; !all.empty() && i < count; ++i) {
    space.spend(1 + all.size());
    made->insert(made->end(), all.begin(), all.end());
  }
  return one.is(kind::list) ? value::of(made) : value::tuple(made);
}

bool can_repeat(const value& one) {
  return one.is_string() || one.is_list_or_tuple();
}

} // namespace

value arithmetic(workspace& space, binary_operator what, const value& a, const value& b) {
  if (a.is_integer() && b.is_integer()) {
    return integer_arithmetic(what, a.as_integer(), b.as_integer());
  }
  if (a.is_number() && b.is_number()) {
    return real_arithmetic(what, a.as_real(), b.as_real());
  }
  if (what == binary_operator::add && a.is_string() && b.is_string()) {
    if (a.is_markup() || b.is_markup()) {
      return joined_markup(space, a, b);
    }
    auto made = space.text();
    space.spend_bytes(a.as_string().size() + b.as_string().size());
    made.reserve(a.as_string().size() + b.as_string().size());
    made += a.as_string();
    made += b.as_string();
    return space.done(std::move(made));
  }
  if (what == binary_operator::add && a.is_list_or_tuple() && a.what() == b.what()) {
    space.spend(1 + a.as_list().size() + b.as_list().size());
    auto* made = space.make_list();
    made->reserve(a.as_list().size() + b.as_list().size());
    made->insert(made->end(), a.as_list().begin(), a.as_list().end());
    made->insert(made->end(), b.as_list().begin(), b.as_list().end());
    return a.is(kind::list) ? value::of(made) : value::tuple(made);
  }
  if (what == binary_operator::multiply && can_repeat(a) && b.is_integer()) {
    return repeated(space, a, b.as_integer());
  }
  if (what == binary_operator::multiply && a.is_integer() && can_repeat(b)) {
    return repeated(space, b, a.as_integer());
  }
  if (what == binary_operator::modulo && a.is_string() && !b.is_undefined()) {
    return percent_format(space, a.as_string(), b);
  }
  cannot(what, a, b);
}

value unary(workspace&, unary_operator what, const value& one) {
  require_defined(one);
  if (!one.is_number()) {
    refuse(fmt::format("bad operand type for unary {}: '{}'",
                       what == unary_operator::negative ? '-' : '+',
                       type_name(one)));
  }
  if (one.is(kind::real)) {
    return what == unary_operator::negative ? value::real(-one.as_real()) : one;
  }
  const auto i = one.as_integer();
  if (what != unary_operator::negative) {
    return value::number(i);
  }
  if (i == integer_min) {
    out_of_range();
  }
  return value::number(-i);
}

} // namespace vdist::text::jinja
