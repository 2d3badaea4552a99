#include "runtime/text/jinja/operations.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <cmath>
#include <fmt/format.h>
#include <functional>

namespace vdist::text::jinja {
namespace {

/// -1, 0 or 1 as a is less, equal or more; 2 when one of them is no number.
int order_of(const value& a, const value& b) {
  if (a.is_integer() && b.is_integer()) {
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer() ? 1 : 0;
  }
  const double left = a.as_real();
  const double right = b.as_real();
  return left < right ? -1 : left > right ? 1 : left == right ? 0 : 2;
}

bool equal_lists(workspace& space, const list& a, const list& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!a[i].is_same(b[i]) && !equals(space, a[i], b[i])) {
      return false;
    }
  }
  return true;
}

bool equal_dicts(workspace& space, const dict& a, const dict& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (const auto& [key, element] : a.entries()) {
    const auto* other = b.find(space, key);
    if (other == nullptr || (!element.is_same(*other) && !equals(space, element, *other))) {
      return false;
    }
  }
  return true;
}

[[noreturn]] void cannot_compare(const value& a, const value& b, std::string_view symbol) {
  require_defined(a);
  require_defined(b);
  refuse(fmt::format(
      "'{}' not supported between instances of '{}' and '{}'", symbol, type_name(a), type_name(b)));
}

/// How the first two elements that differ compare, or the sizes; `or_equal` for two equal ones.
bool compare_lists(
    workspace& space, const list& a, const list& b, std::string_view symbol, bool or_equal) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (!a[i].is_same(b[i]) && !equals(space, a[i], b[i])) {
      return or_equal ? holds(space, comparison_operator::less_equal, a[i], b[i])
                      : is_less(space, a[i], b[i], symbol);
    }
  }
  return or_equal ? a.size() <= b.size() : a.size() < b.size();
}

bool in_order(
    workspace& space, const value& a, const value& b, std::string_view symbol, bool or_equal) {
  const workspace::level inside(space);
  space.spend();
  if (a.is_number() && b.is_number()) {
    const int order = order_of(a, b);
    return order == -1 || (or_equal && order == 0);
  }
  if (a.is_string() && b.is_string()) {
    // UTF-8 keeps the order of code points.
    space.spend_bytes(std::min(a.as_string().size(), b.as_string().size()));
    return or_equal ? a.as_string() <= b.as_string() : a.as_string() < b.as_string();
  }
  if (a.is_list_or_tuple() && a.what() == b.what()) {
    return compare_lists(space, a.as_list(), b.as_list(), symbol, or_equal);
  }
  cannot_compare(a, b, symbol);
}

std::size_t mixed(std::size_t a, std::size_t b) {
  return (a ^ (b + 0x9E3779B97F4A7C15U + (a << 6U) + (a >> 2U))) * 0x2545F4914F6CDD1DU;
}

} // namespace

std::string_view type_name(const value& one) {
  switch (one.what()) {
  case kind::undefined:
    return "Undefined";
  case kind::none:
    return "NoneType";
  case kind::boolean:
    return "bool";
  case kind::integer:
    return "int";
  case kind::real:
    return "float";
  case kind::string:
    return "str";
  case kind::list:
    return "list";
  case kind::tuple:
    return "tuple";
  case kind::dict:
    return "dict";
  case kind::object:
    break;
  }
  return one.as_object().type_name();
}

std::string message_of(const undefined_cause& cause) {
  using reason = undefined_cause::reason;
  switch (cause.what) {
  case reason::name:
    return fmt::format("'{}' is undefined", cause.text);
  case reason::attribute:
    return cause.owner_type == "None"
               ? fmt::format("'None' has no attribute '{}'", cause.text)
               : fmt::format("'{} object' has no attribute '{}'", cause.owner_type, cause.text);
  case reason::element:
    return fmt::format("{} object has no element {}", cause.owner_type, cause.text);
  case reason::unsafe:
    return fmt::format(
        "access to attribute '{}' of '{}' object is unsafe", cause.text, cause.owner_type);
  case reason::text:
    break;
  }
  return std::string(cause.text);
}

void require_defined(const value& one) {
  if (one.is_undefined()) {
    refuse(message_of(one.cause()));
  }
}

bool truth(workspace& space, const value& one) {
  switch (one.what()) {
  case kind::undefined:
  case kind::none:
    return false;
  case kind::boolean:
    return one.as_boolean();
  case kind::integer:
    return one.as_integer() != 0;
  case kind::real:
    return one.as_real() != 0;
  case kind::string:
    return !one.as_string().empty();
  case kind::list:
  case kind::tuple:
    return !one.as_list().empty();
  case kind::dict:
    return one.as_dict().size() > 0;
  case kind::object:
    break;
  }
  return one.as_object().length(space).value_or(1) != 0;
}

bool equals(workspace& space, const value& a, const value& b) {
  const workspace::level inside(space);
  space.spend();
  if (a.is_number() && b.is_number()) {
    return order_of(a, b) == 0;
  }
  if (a.what() != b.what()) {
    return false;
  }
  switch (a.what()) {
  case kind::string:
    space.spend_bytes(a.as_string().size() == b.as_string().size() ? a.as_string().size() : 0);
    return a.as_string() == b.as_string();
  case kind::list:
  case kind::tuple:
    return equal_lists(space, a.as_list(), b.as_list());
  case kind::dict:
    return equal_dicts(space, a.as_dict(), b.as_dict());
  case kind::object:
    return &a.as_object() == &b.as_object();
  default:
    return true; // None, and every undefined value equals every other
  }
}

bool is_less(workspace& space, const value& a, const value& b, std::string_view symbol) {
  return in_order(space, a, b, symbol, false);
}

bool holds(workspace& space, comparison_operator what, const value& a, const value& b) {
  switch (what) {
  case comparison_operator::equal:
    return equals(space, a, b);
  case comparison_operator::not_equal:
    return !equals(space, a, b);
  case comparison_operator::less:
    return in_order(space, a, b, "<", false);
  case comparison_operator::less_equal:
    return in_order(space, a, b, "<=", true);
  // The sides change places; the words of an error must not.
  case comparison_operator::greater:
  case comparison_operator::greater_equal: {
    const bool or_equal = what == comparison_operator::greater_equal;
    const bool is_ordered = (a.is_number() && b.is_number())
                            || (a.what() == b.what() && (a.is_string() || a.is_list_or_tuple()));
    if (!is_ordered) {
      cannot_compare(a, b, or_equal ? ">=" : ">");
    }
    return in_order(space, b, a, or_equal ? ">=" : ">", or_equal);
  }
  case comparison_operator::in:
    return contains(space, b, a);
  case comparison_operator::not_in:
    break;
  }
  return !contains(space, b, a);
}

bool contains(workspace& space, const value& container, const value& one) {
  if (container.is_string()) {
    if (!one.is_string()) {
      refuse(fmt::format("'in <string>' requires string as left operand, not {}", type_name(one)));
    }
    space.spend_bytes(container.as_string().size());
    return find_text(container.as_string(), one.as_string()) != std::string_view::npos;
  }
  if (container.is(kind::dict)) {
    if (!hash_of(space, one)) {
      refuse(fmt::format("unhashable type: '{}'", type_name(one)));
    }
    return container.as_dict().find(space, one) != nullptr;
  }
  if (!is_iterable(space, container)) {
    refuse(fmt::format("argument of type '{}' is not iterable", type_name(container)));
  }
  auto& all = iterate(space, container);
  while (const auto next = all.next(space)) {
    if (next->is_same(one) || equals(space, *next, one)) {
      return true;
    }
  }
  return false;
}

std::optional<std::size_t> hash_of(workspace& space, const value& one) {
  const workspace::level inside(space);
  space.spend();
  switch (one.what()) {
  case kind::none:
    return 1;
  case kind::undefined:
    return 2;
  case kind::boolean:
  case kind::integer:
    return std::hash<double>()(static_cast<double>(one.as_integer()));
  case kind::real: // equal numbers have equal hashes
    return std::hash<double>()(one.as_real());
  case kind::string:
    space.spend_bytes(one.as_string().size());
    return std::hash<std::string_view>()(one.as_string());
  case kind::tuple: {
    std::size_t all = one.as_list().size();
    for (const auto& element : one.as_list()) {
      const auto part = hash_of(space, element);
      if (!part) {
        return std::nullopt;
      }
      all = mixed(all, *part);
    }
    return all;
  }
  case kind::list:
  case kind::dict:
    return std::nullopt;
  case kind::object:
    break;
  }
  return std::hash<const object*>()(&one.as_object());
}

std::optional<std::size_t> length_if_any(workspace& space, const value& one) {
  switch (one.what()) {
  case kind::undefined:
    return 0;
  case kind::string:
    space.spend_bytes(one.as_string().size());
    return count_characters(one.as_string());
  case kind::list:
  case kind::tuple:
    return one.as_list().size();
  case kind::dict:
    return one.as_dict().size();
  case kind::object:
    return one.as_object().length(space);
  default:
    return std::nullopt;
  }
}

std::size_t length_of(workspace& space, const value& one) {
  const auto length = length_if_any(space, one);
  if (!length) {
    refuse(fmt::format("object of type '{}' has no len()", type_name(one)));
  }
  return *length;
}

const list& elements_of(workspace& space, const value& one) {
  if (one.is_list_or_tuple()) {
    space.spend(1 + one.as_list().size());
    return one.as_list();
  }
  auto& all = iterate(space, one);
  auto* made = space.make_list();
  while (const auto next = all.next(space)) {
    made->push_back(*next);
  }
  return *made;
}

integer require_integer(const value& one, std::string_view what) {
  require_defined(one);
  if (!one.is_integer()) {
    refuse(
        fmt::format("{}: '{}' object cannot be interpreted as an integer", what, type_name(one)));
  }
  return one.as_integer();
}

std::string_view require_string(const value& one, std::string_view what) {
  require_defined(one);
  if (!one.is_string()) {
    refuse(fmt::format("{}: must be str, not {}", what, type_name(one)));
  }
  return one.as_string();
}

} // namespace vdist::text::jinja
