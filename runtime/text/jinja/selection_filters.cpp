// map, select, reject, selectattr, rejectattr: other filters and tests over every item, lazily.
#include "runtime/text/jinja/attribute_path.hpp"
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

/// The arguments behind the first `skipped`, kept in the workspace.
const call_arguments* rest_of(workspace& space, const call_arguments& all, std::size_t skipped) {
  auto* rest = space.make<call_arguments>(space.memory());
  for (auto i = skipped; i < all.positional.size(); ++i) {
    rest->positional.push_back(all.positional[i]);
  }
  rest->named = all.named;
  return rest;
}

value map_attribute(workspace& space, const bound_arguments& given) {
  value attribute;
  value fallback;
  for (const auto& [name, one] : given.all().named) {
    if (name != "attribute" && name != "default") {
      refuse(fmt::format("map: unexpected keyword argument '{}'", name));
    }
    (name == "attribute" ? attribute : fallback) = one;
  }
  const attribute_path path(space, attribute);
  return lazily(space,
                [from = given[0], all = static_cast<iterator*>(nullptr), path, fallback](
                    workspace& in) mutable -> std::optional<value> {
                  all = all == nullptr ? &iterate(in, from) : all;
                  const auto item = all->next(in);
                  const auto by_default =
                      fallback.is_none() ? std::nullopt : std::optional(fallback);
                  return item ? std::optional(path.walk(in, *item, by_default)) : std::nullopt;
                });
}

/// jinja2 asks for the truth of what it maps or selects from; nothing falls out of what is false.
bool is_void(workspace& space, const value& from) {
  return !truth(space, from);
}

bool names(const call_arguments& given, std::string_view name) {
  for (const auto& [key, one] : given.named) {
    if (key == name) {
      return true;
    }
  }
  return false;
}

value nothing(workspace& space) {
  return lazily(space, [](workspace&) { return std::optional<value>(); });
}

// What is wrong with the arguments is an error of the first item, as in jinja2: nobody may ask for it.

value filter_map(workspace& space, const bound_arguments& given) {
  if (is_void(space, given[0])) {
    return nothing(space);
  }
  const auto& all = given.all();
  if (all.positional.empty() && names(all, "attribute")) {
    return map_attribute(space, given);
  }
  const auto name = all.positional.empty() ? value::none() : all.positional[0];
  return lazily(space,
                [from = given[0],
                 items = static_cast<iterator*>(nullptr),
                 name,
                 rest = rest_of(space, all, 1)](workspace& in) mutable -> std::optional<value> {
                  if (name.is_none()) {
                    refuse("map requires a filter argument");
                  }
                  const auto* filter = find_filter(require_string(name, "map"));
                  items = items == nullptr ? &iterate(in, from) : items;
                  const auto item = items->next(in);
                  if (item && filter == nullptr) {
                    refuse(fmt::format("No filter named '{}'", name.as_string()));
                  }
                  return item ? std::optional(call_builtin(in, *filter, &*item, *rest))
                              : std::nullopt;
                });
}

/// Whether the test called `name` holds for `part`; its truth when the name is None.
bool passes(workspace& space, const value& name, const value& part, const call_arguments& rest) {
  if (name.is_none()) {
    return truth(space, part);
  }
  const auto* test = find_test(require_string(name, "select"));
  if (test == nullptr) {
    refuse(fmt::format("No test named '{}'", name.as_string()));
  }
  return truth(space, call_builtin(space, *test, &part, rest));
}

template <bool Keeps, bool ByAttribute>
value filter_select(workspace& space, const bound_arguments& given) {
  if (is_void(space, given[0])) {
    return nothing(space);
  }
  const auto& all = given.all();
  constexpr std::size_t test_at = ByAttribute ? 1 : 0;
  const auto argument = [&all](std::size_t at) {
    return at < all.positional.size() ? all.positional[at] : value::none();
  };
  const auto attribute = ByAttribute ? argument(0) : value::none();
  const attribute_path path(space, attribute);
  return lazily(
      space,
      [from = given[0],
       items = static_cast<iterator*>(nullptr),
       path,
       is_missing = ByAttribute && attribute.is_none(),
       name = argument(test_at),
       rest = rest_of(space, all, test_at + 1)](workspace& in) mutable -> std::optional<value> {
        if (is_missing) {
          refuse("Missing parameter for attribute name");
        }
        items = items == nullptr ? &iterate(in, from) : items;
        while (const auto item = items->next(in)) {
          if (passes(in, name, path.walk(in, *item), *rest) == Keeps) {
            return item;
          }
        }
        return std::nullopt;
      });
}

constexpr auto any = argument_style::any;

constexpr std::array filters{
    builtin{"map", filter_map, {"value"}, 1, any},
    builtin{"reject", filter_select<false, false>, {"value"}, 1, any},
    builtin{"rejectattr", filter_select<false, true>, {"value"}, 1, any},
    builtin{"select", filter_select<true, false>, {"value"}, 1, any},
    builtin{"selectattr", filter_select<true, true>, {"value"}, 1, any},
};
static_assert(is_sorted_by_name(filters));

} // namespace

const builtin* find_selection_filter(std::string_view name) {
  return find_builtin(filters, name);
}

} // namespace vdist::text::jinja
