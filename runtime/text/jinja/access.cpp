#include "runtime/text/jinja/access.hpp"

#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

using reason = undefined_cause::reason;

/// Methods that would change a value that a template may only read.
constexpr std::string_view list_changers[] = {
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr std::string_view dict_changers[] = {"clear", "pop", "popitem", "setdefault", "update"};

template <std::size_t Count>
bool is_one_of(const std::string_view (&names)[Count], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_changer(const value& owner, std::string_view name) {
  return (owner.is(kind::list) && is_one_of(list_changers, name))
         || (owner.is(kind::dict) && is_one_of(dict_changers, name));
}

/// What every object of Python has; the sandbox hides it.
bool is_internal(std::string_view name) {
  constexpr std::string_view internals[] = {
      "__class__",   "__delattr__",  "__dir__",           "__doc__",          "__eq__",
      "__format__",  "__ge__",       "__getattribute__",  "__getstate__",     "__gt__",
      "__hash__",    "__init__",     "__init_subclass__", "__le__",           "__lt__",
      "__ne__",      "__new__",      "__reduce__",        "__reduce_ex__",    "__repr__",
      "__setattr__", "__sizeof__",   "__str__",           "__subclasshook__", "__len__",
      "__getitem__", "__contains__", "__iter__",          "__add__",          "__mul__"};
  return name.starts_with("__") && is_one_of(internals, name);
}

const builtin* method_of(const value& owner, std::string_view name) {
  switch (owner.what()) {
  case kind::string:
    return find_string_method(name);
  case kind::list:
    return find_list_method(name);
  case kind::tuple:
    return find_tuple_method(name);
  case kind::dict:
    return find_dict_method(name);
  case kind::boolean:
  case kind::integer:
  case kind::real:
    return find_number_method(owner.what(), name);
  default:
    return nullptr;
  }
}

value unsafe(workspace& space, const value& owner, std::string_view name) {
  return space.undefined({.what = reason::unsafe, .text = name, .owner_type = type_name(owner)});
}

/// How jinja2 calls a type in this message.
std::string_view shown_type(const value& one) {
  return one.is_none() ? "None" : type_name(one);
}

std::optional<std::size_t> position(const value& key, std::size_t count) {
  if (!key.is_integer()) {
    return std::nullopt;
  }
  auto i = key.as_integer();
  i = i < 0 ? i + static_cast<integer>(count) : i;
  return i >= 0 && i < static_cast<integer>(count) ? std::optional(static_cast<std::size_t>(i))
                                                   : std::nullopt;
}

/// Python's subscription; nothing when there is no such element.
std::optional<value> element_of(workspace& space, const value& owner, const value& key) {
  switch (owner.what()) {
  case kind::string: {
    const auto text = owner.as_string();
    space.spend_bytes(text.size());
    const auto i = position(key, count_characters(text));
    if (!i) {
      return std::nullopt;
    }
    const auto at = offset_of_character(text, *i);
    return value::string(text.substr(at, code_point_at(text, at).bytes));
  }
  case kind::list:
  case kind::tuple: {
    const auto i = position(key, owner.as_list().size());
    return i ? std::optional(owner.as_list()[*i]) : std::nullopt;
  }
  case kind::dict: {
    const auto* found = owner.as_dict().find(space, key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  case kind::object:
    return owner.as_object().item(space, key);
  default:
    return std::nullopt;
  }
}

std::string_view as_text(workspace& space, const value& key) {
  auto text = space.text();
  append_repr(space, text, key);
  return space.done(std::move(text)).as_string();
}

} // namespace

std::optional<value> attribute_only(workspace& space, const value& owner, std::string_view name) {
  if (const auto* method = method_of(owner, name); method != nullptr) {
    return function_value(space, *method, &owner);
  }
  if (is_changer(owner, name) || is_internal(name)) {
    return unsafe(space, owner, name);
  }
  return owner.is(kind::object) ? owner.as_object().attribute(space, name) : std::nullopt;
}

value attribute_of(workspace& space, const value& owner, std::string_view name) {
  require_defined(owner);
  if (const auto found = attribute_only(space, owner, name)) {
    return *found;
  }
  if (owner.is(kind::dict)) {
    if (const auto* found = owner.as_dict().find(space, name); found != nullptr) {
      return *found;
    }
  }
  return space.undefined(
      {.what = reason::attribute, .text = name, .owner_type = shown_type(owner)});
}

value item_of(workspace& space, const value& owner, const value& key) {
  require_defined(owner);
  if (const auto found = element_of(space, owner, key)) {
    return *found;
  }
  if (key.is_string()) {
    if (const auto found = attribute_only(space, owner, key.as_string())) {
      return *found;
    }
    return space.undefined(
        {.what = reason::attribute, .text = key.as_string(), .owner_type = shown_type(owner)});
  }
  return space.undefined(
      {.what = reason::element, .text = as_text(space, key), .owner_type = shown_type(owner)});
}

namespace {

/// Python's PySlice_AdjustIndices.
struct span_of_slice {
  integer start;
  integer stop;
  integer step;
  std::size_t count;
};

integer bound_of(const value& given, integer fallback, integer count, integer low, integer high) {
  if (given.is_none()) {
    return fallback;
  }
  require_defined(given);
  if (!given.is_integer()) {
    refuse("slice indices must be integers or None");
  }
  const auto i = given.as_integer() < 0 ? std::max(given.as_integer(), -count - 1) + count
                                        : given.as_integer();
  return std::clamp(i, low, high);
}

/// The step, no larger than any sequence.
integer step_of(const value& given) {
  constexpr integer far = integer{1} << 48U;
  if (given.is_none()) {
    return 1;
  }
  require_defined(given);
  if (!given.is_integer()) {
    refuse("slice indices must be integers or None");
  }
  if (given.as_integer() == 0) {
    refuse("slice step cannot be zero");
  }
  return std::clamp(given.as_integer(), -far, far);
}

span_of_slice
span_of(const value& start, const value& stop, const value& step, std::size_t elements) {
  const auto pace = step_of(step);
  const auto count = static_cast<integer>(elements);
  const bool is_forward = pace > 0;
  const auto low = is_forward ? integer{0} : integer{-1};
  const auto high = is_forward ? count : count - 1;
  const auto from = bound_of(start, is_forward ? low : high, count, low, high);
  const auto to = bound_of(stop, is_forward ? high : low, count, low, high);
  const auto distance = is_forward ? to - from : from - to;
  const auto size = is_forward ? pace : -pace;
  return {
      from, to, pace, distance <= 0 ? 0 : static_cast<std::size_t>((distance + size - 1) / size)};
}

value slice_of_text(workspace& space, std::string_view text, const span_of_slice& span) {
  space.spend_bytes(text.size());
  if (span.step == 1) {
    const auto from = offset_of_character(text, static_cast<std::size_t>(span.start));
    const auto rest = text.substr(from);
    return value::string(rest.substr(0, offset_of_character(rest, span.count)));
  }
  auto offsets = std::pmr::vector<std::uint32_t>(space.memory());
  for (std::size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) {
    offsets.push_back(static_cast<std::uint32_t>(at));
  }
  auto made = space.text();
  auto i = span.start;
  for (std::size_t left = span.count; left > 0; --left, i += span.step) {
    const auto at = offsets[static_cast<std::size_t>(i)];
    made += text.substr(at, code_point_at(text, at).bytes);
  }
  return space.done(std::move(made));
}

} // namespace

value slice_of(workspace& space,
               const value& owner,
               const value& start,
               const value& stop,
               const value& step) {
  require_defined(owner);
  if (owner.is_string()) {
    const auto text = owner.as_string();
    const auto made =
        slice_of_text(space, text, span_of(start, stop, step, count_characters(text)));
    return owner.is_markup() ? value::markup(made.as_string()) : made;
  }
  if (owner.is(kind::object) && owner.as_object().is_sequence()) {
    const auto span = span_of(start, stop, step, owner.as_object().length(space).value_or(0));
    if (auto made = owner.as_object().slice(space, span.start, span.stop, span.step)) {
      return *made;
    }
  }
  if (!owner.is_list_or_tuple()) {
    refuse(owner.is(kind::dict)
               ? "unhashable type: 'slice'"
               : fmt::format("'{}' object is not subscriptable", type_name(owner)));
  }
  const auto& all = elements_of(space, owner);
  const auto span = span_of(start, stop, step, all.size());
  space.spend(1 + span.count);
  auto* made = space.make_list();
  made->reserve(span.count);
  auto i = span.start;
  for (std::size_t left = span.count; left > 0; --left, i += span.step) {
    made->push_back(all[static_cast<std::size_t>(i)]);
  }
  return owner.is(kind::tuple) ? value::tuple(made) : value::of(made);
}

} // namespace vdist::text::jinja
