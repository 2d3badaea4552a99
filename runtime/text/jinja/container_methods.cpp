// The methods of list, tuple and dict that read, and the few of numbers.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

template <dict_part Part>
value dict_part_of(workspace& space, const bound_arguments& given) {
  return dict_view(space, given[0].as_dict(), Part);
}

value dict_get(workspace& space, const bound_arguments& given) {
  if (!hash_of(space, given[1])) {
    refuse(fmt::format("unhashable type: '{}'", type_name(given[1])));
  }
  const auto* found = given[0].as_dict().find(space, given[1]);
  return found != nullptr ? *found : given.value_or(2, value::none());
}

value dict_copy(workspace&, const bound_arguments& given) {
  return given[0]; // nobody can tell: no dict changes
}

value list_copy(workspace& space, const bound_arguments& given) {
  auto* made = space.make_list();
  *made = elements_of(space, given[0]);
  return value::of(made);
}

value list_count(workspace& space, const bound_arguments& given) {
  std::size_t count = 0;
  for (const auto& one : given[0].as_list()) {
    count += one.is_same(given[1]) || equals(space, one, given[1]) ? 1 : 0;
  }
  return value::number(count);
}

value list_index(workspace& space, const bound_arguments& given) {
  const auto& all = given[0].as_list();
  const auto count = static_cast<integer>(all.size());
  const auto bound = [&given, count](std::size_t parameter, integer fallback) {
    const auto* found = given.find(parameter);
    const auto i = found != nullptr ? require_integer(*found, "index") : fallback;
    return std::clamp(i < 0 ? i + count : i, integer{0}, count);
  };
  const auto stop = bound(3, count);
  for (auto i = bound(2, 0); i < stop; ++i) {
    const auto& one = all[static_cast<std::size_t>(i)];
    if (one.is_same(given[1]) || equals(space, one, given[1])) {
      return value::number(i);
    }
  }
  refuse("value is not in the list");
}

value number_is_integer(workspace&, const bound_arguments& given) {
  const double r = given[0].as_real();
  return value::boolean(std::isfinite(r) && r == std::floor(r));
}

value number_bit_length(workspace&, const bound_arguments& given) {
  const auto i = given[0].as_integer();
  auto left = i < 0 ? ~static_cast<unsigned __int128>(i) + 1 : static_cast<unsigned __int128>(i);
  std::size_t bits = 0;
  for (; left != 0; left >>= 1U) {
    ++bits;
  }
  return value::number(bits);
}

constexpr auto fixed = argument_style::by_position;

constexpr std::array dict_methods{
    builtin{"copy", dict_copy, {"self"}, 1, fixed},
    builtin{"get", dict_get, {"self", "key", "default"}, 2, fixed},
    builtin{"items", dict_part_of<dict_part::items>, {"self"}, 1, fixed},
    builtin{"keys", dict_part_of<dict_part::keys>, {"self"}, 1, fixed},
    builtin{"values", dict_part_of<dict_part::values>, {"self"}, 1, fixed},
};
static_assert(is_sorted_by_name(dict_methods));

constexpr std::array list_methods{
    builtin{"copy", list_copy, {"self"}, 1, fixed},
    builtin{"count", list_count, {"self", "value"}, 2, fixed},
    builtin{"index", list_index, {"self", "value", "start", "stop"}, 2, fixed},
};
static_assert(is_sorted_by_name(list_methods));

constexpr std::array tuple_methods{
    builtin{"count", list_count, {"self", "value"}, 2, fixed},
    builtin{"index", list_index, {"self", "value", "start", "stop"}, 2, fixed},
};
static_assert(is_sorted_by_name(tuple_methods));

constexpr std::array integer_methods{
    builtin{"bit_length", number_bit_length, {"self"}, 1, fixed},
};

constexpr std::array real_methods{
    builtin{"is_integer", number_is_integer, {"self"}, 1, fixed},
};

} // namespace

const builtin* find_dict_method(std::string_view name) {
  return find_builtin(dict_methods, name);
}

const builtin* find_list_method(std::string_view name) {
  return find_builtin(list_methods, name);
}

const builtin* find_tuple_method(std::string_view name) {
  return find_builtin(tuple_methods, name);
}

const builtin* find_number_method(kind of, std::string_view name) {
  return of == kind::real ? find_builtin(real_methods, name) : find_builtin(integer_methods, name);
}

} // namespace vdist::text::jinja
