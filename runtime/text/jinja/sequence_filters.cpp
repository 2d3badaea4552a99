// Filters that take a sequence as a whole: its order, its size, its ends.
#include "runtime/text/jinja/access.hpp"
#include "runtime/text/jinja/attribute_path.hpp"
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

using pairs = std::pmr::vector<std::pair<value, value>>; // key and item

/// Stable, by the keys; `reversed` keeps equal ones in their order, as Python does.
void sort_by_key(workspace& space, pairs& all, bool is_reversed) {
  if (is_reversed) {
    std::reverse(all.begin(), all.end());
  }
  std::stable_sort(all.begin(), all.end(), [&space](const auto& a, const auto& b) {
    return is_less(space, a.first, b.first);
  });
  if (is_reversed) {
    std::reverse(all.begin(), all.end());
  }
}

value items_of(workspace& space, const pairs& all) {
  auto* made = space.make_list();
  made->reserve(all.size());
  for (const auto& [key, item] : all) {
    made->push_back(item);
  }
  return value::of(made);
}

bool flag(workspace& space, const bound_arguments& given, std::size_t parameter) {
  const auto* found = given.find(parameter);
  return found != nullptr && truth(space, *found);
}

value filter_sort(workspace& space, const bound_arguments& given) {
  const bool keeps_case = flag(space, given, 2);
  const auto attribute = given.value_or(3, value::none());
  std::pmr::vector<attribute_path> paths(space.memory());
  if (attribute.is_string()) { // several attributes with commas
    auto rest = attribute.as_string();
    for (auto comma = rest.find(','); comma != std::string_view::npos; comma = rest.find(',')) {
      paths.emplace_back(space, value::string(rest.substr(0, comma)));
      rest.remove_prefix(comma + 1);
    }
    paths.emplace_back(space, value::string(rest));
  } else {
    paths.emplace_back(space, attribute);
  }
  pairs all(space.memory());
  for (const auto& item : elements_of(space, given[0])) {
    auto* key = space.make_list();
    for (const auto& path : paths) {
      const auto part = path.walk(space, item);
      key->push_back(keeps_case ? part : without_case(space, part));
    }
    all.emplace_back(value::of(key), item);
  }
  sort_by_key(space, all, flag(space, given, 1));
  return items_of(space, all);
}

const dict& require_dict(const value& one) {
  require_defined(one);
  if (!one.is(kind::dict)) {
    refuse(fmt::format("'{}' object has no attribute 'items'", type_name(one)));
  }
  return one.as_dict();
}

value filter_dictsort(workspace& space, const bound_arguments& given) {
  const bool keeps_case = flag(space, given, 1);
  const auto by = given.value_or(2, value::string("key"));
  const bool is_by_key = by.is_string() && by.as_string() == "key";
  if (!is_by_key && !(by.is_string() && by.as_string() == "value")) {
    refuse("You can only sort by either \"key\" or \"value\"");
  }
  pairs all(space.memory());
  for (const auto& [key, element] : require_dict(given[0]).entries()) {
    auto* item = space.make_list();
    item->push_back(key);
    item->push_back(element);
    const auto& sorted_by = is_by_key ? key : element;
    all.emplace_back(keeps_case ? sorted_by : without_case(space, sorted_by), value::tuple(item));
  }
  sort_by_key(space, all, flag(space, given, 3));
  return items_of(space, all);
}

value filter_unique(workspace& space, const bound_arguments& given) {
  const bool keeps_case = flag(space, given, 1);
  const attribute_path path(space, given.value_or(2, value::none()));
  auto* seen = space.make_dict();
  return lazily(space,
                [from = given[0], all = static_cast<iterator*>(nullptr), seen, path, keeps_case](
                    workspace& in) mutable -> std::optional<value> {
                  all = all == nullptr ? &iterate(in, from) : all;
                  while (const auto item = all->next(in)) {
                    const auto part = path.walk(in, *item);
                    const auto key = keeps_case ? part : without_case(in, part);
                    const auto before = seen->size();
                    seen->set(in, key, value::none());
                    if (seen->size() > before) {
                      return item;
                    }
                  }
                  return std::nullopt;
                });
}

template <bool IsMax>
value filter_extreme(workspace& space, const bound_arguments& given) {
  const bool keeps_case = flag(space, given, 1);
  const attribute_path path(space, given.value_or(2, value::none()));
  auto& all = iterate(space, given[0]);
  std::optional<value> best;
  value best_key;
  while (const auto item = all.next(space)) {
    const auto part = path.walk(space, *item);
    const auto key = keeps_case ? part : without_case(space, part);
    if (!best
        || (IsMax ? holds(space, comparison_operator::greater, key, best_key)
                  : is_less(space, key, best_key))) {
      best = item;
      best_key = key;
    }
  }
  return best ? *best : space.undefined("No aggregated item, sequence was empty.");
}

value filter_sum(workspace& space, const bound_arguments& given) {
  const attribute_path path(space, given.value_or(1, value::none()));
  auto total = given.value_or(2, value::number(integer{0}));
  if (total.is_string()) {
    refuse("sum() can't sum strings [use ''.join(seq) instead]");
  }
  auto& all = iterate(space, given[0]);
  while (const auto item = all.next(space)) {
    total = arithmetic(space, binary_operator::add, total, path.walk(space, *item));
  }
  return total;
}

value filter_list(workspace& space, const bound_arguments& given) {
  return value::of(&elements_of(space, given[0]));
}

value filter_length(workspace& space, const bound_arguments& given) {
  return value::number(length_of(space, given[0]));
}

value filter_first(workspace& space, const bound_arguments& given) {
  const auto first = iterate(space, given[0]).next(space);
  return first ? *first : space.undefined("No first item, sequence was empty.");
}

bool is_reversible(workspace& space, const value& one) {
  return one.is_undefined() || one.is_string() || one.is_list_or_tuple() || one.is(kind::dict)
         || (one.is(kind::object) && one.as_object().length(space).has_value());
}

value filter_last(workspace& space, const bound_arguments& given) {
  if (!is_reversible(space, given[0])) {
    refuse(fmt::format("'{}' object is not reversible", type_name(given[0])));
  }
  const auto& all = elements_of(space, given[0]);
  return all.empty() ? space.undefined("No last item, sequence was empty.") : all.back();
}

value filter_reverse(workspace& space, const bound_arguments& given) {
  const auto& one = given[0];
  if (one.is_string()) {
    space.spend_bytes(one.as_string().size());
    auto made = space.text();
    made.reserve(one.as_string().size());
    for (auto end = one.as_string().size(); end > 0;) {
      const auto begin = code_point_before(one.as_string(), end);
      made += one.as_string().substr(begin, end - begin);
      end = begin;
    }
    return space.done(std::move(made));
  }
  if (!is_iterable(space, one)) {
    refuse("argument must be iterable");
  }
  if (is_reversible(space, one)) {
    return value::of(static_cast<object*>(&iterate_backwards(space, elements_of(space, one))));
  }
  auto* made = space.make_list();
  *made = elements_of(space, one);
  std::reverse(made->begin(), made->end());
  return value::of(made);
}

value filter_join(workspace& space, const bound_arguments& given) {
  const auto separator = str_of(space, given.value_or(1, value::string(""))).as_string();
  const attribute_path path(space, given.value_or(2, value::none()));
  auto& all = iterate(space, given[0]);
  auto made = space.text();
  bool is_first = true;
  while (const auto item = all.next(space)) {
    if (!is_first) {
      space.spend_bytes(separator.size());
      made += separator;
    }
    is_first = false;
    append_str(space, made, path.walk(space, *item));
  }
  return space.done(std::move(made));
}

std::size_t require_count(const value& one, std::string_view what, integer low) {
  const auto count = require_integer(one, what);
  if (count < low) {
    refuse(fmt::format("{}: count out of range", what));
  }
  return static_cast<std::size_t>(std::min(count, integer{1} << 32U));
}

value filter_batch(workspace& space, const bound_arguments& given) {
  const auto count = require_count(given[1], "batch", 1);
  const auto fill = given.value_or(2, value::none());
  return lazily(space,
                [from = given[0], all = static_cast<iterator*>(nullptr), count, fill](
                    workspace& in) mutable -> std::optional<value> {
                  all = all == nullptr ? &iterate(in, from) : all;
                  auto* row = in.make_list();
                  while (row->size() < count) {
                    const auto item = all->next(in);
                    if (!item) {
                      break;
                    }
                    row->push_back(*item);
                  }
                  if (row->empty()) {
                    return std::nullopt;
                  }
                  while (!fill.is_none() && row->size() < count) {
                    in.spend();
                    row->push_back(fill);
                  }
                  return value::of(row);
                });
}

value filter_slice(workspace& space, const bound_arguments& given) {
  const auto count = require_count(given[1], "slice", 1);
  const auto fill = given.value_or(2, value::none());
  return lazily(space,
                [from = given[0],
                 all = static_cast<const list*>(nullptr),
                 next = std::size_t{0},
                 slice = std::size_t{0},
                 count,
                 fill](workspace& in) mutable -> std::optional<value> {
                  all = all == nullptr ? &elements_of(in, from) : all;
                  if (slice == count) {
                    return std::nullopt;
                  }
                  const bool has_extra = slice++ < all->size() % count;
                  const auto end = next + all->size() / count + (has_extra ? 1 : 0);
                  auto* row = in.make_list();
                  for (; next < end; ++next) {
                    row->push_back((*all)[next]);
                  }
                  if (!fill.is_none() && !has_extra) {
                    row->push_back(fill);
                  }
                  return value::of(row);
                });
}

/// What groupby gives: a pair whose parts have names.
class group final : public object {
public:
  group(const value& grouper, const list& members) : grouper_(grouper), members_(members) {}

  [[nodiscard]] std::string_view type_name() const override { return "_GroupTuple"; }

  [[nodiscard]] std::optional<value> attribute(workspace&, std::string_view name) override {
    return name == "grouper" ? std::optional(grouper_)
           : name == "list"  ? std::optional(value::of(&members_))
                             : std::nullopt;
  }

  [[nodiscard]] std::optional<value> item(workspace& space, const value& key) override {
    return key.is_integer() ? std::optional(item_of(space, pair(space), key)) : std::nullopt;
  }

  [[nodiscard]] std::optional<value>
  slice(workspace& space, integer from, integer to, integer step) override {
    return slice_of(space,
                    pair(space),
                    value::number(from),
                    to < 0 ? value::none() : value::number(to),
                    value::number(step));
  }

  [[nodiscard]] iterator* iterate(workspace& space) override {
    return &iterate_list(space, pair(space).as_list());
  }

  [[nodiscard]] std::optional<std::size_t> length(workspace&) override { return 2; }

  [[nodiscard]] bool is_sequence() const override { return true; }

  void print(workspace& space, std::pmr::string& out) override {
    append_repr(space, out, pair(space));
  }

private:
  [[nodiscard]] value pair(workspace& space) const {
    auto* made = space.make_list();
    made->push_back(grouper_);
    made->push_back(value::of(&members_));
    return value::tuple(made);
  }

  value grouper_;
  const list& members_;
};

value filter_groupby(workspace& space, const bound_arguments& given) {
  const attribute_path path(space, given[1]);
  const auto fallback = given.value_or(2, value::none());
  const auto by_default = fallback.is_none() ? std::nullopt : std::optional(fallback);
  const bool keeps_case = flag(space, given, 3);
  pairs all(space.memory());
  for (const auto& item : elements_of(space, given[0])) {
    const auto part = path.walk(space, item, by_default);
    all.emplace_back(keeps_case ? part : without_case(space, part), item);
  }
  sort_by_key(space, all, false);
  auto* groups = space.make_list();
  for (std::size_t begin = 0; begin < all.size();) {
    auto* members = space.make_list();
    auto end = begin;
    for (; end < all.size() && equals(space, all[begin].first, all[end].first); ++end) {
      members->push_back(all[end].second);
    }
    if (end == begin) { // NaN equals nothing
      members->push_back(all[end++].second);
    }
    const auto grouper =
        keeps_case ? all[begin].first : path.walk(space, members->front(), by_default);
    groups->push_back(value::of(static_cast<object*>(space.make<group>(grouper, *members))));
    begin = end;
  }
  return value::of(groups);
}

value filter_items(workspace& space, const bound_arguments& given) {
  return lazily(space,
                [from = given[0], all = static_cast<iterator*>(nullptr)](
                    workspace& in) mutable -> std::optional<value> {
                  if (from.is_undefined()) {
                    return std::nullopt;
                  }
                  if (!from.is(kind::dict)) {
                    refuse("Can only get item pairs from a mapping.");
                  }
                  all =
                      all == nullptr
                          ? dict_view(in, from.as_dict(), dict_part::items).as_object().iterate(in)
                          : all;
                  return all->next(in);
                });
}

value filter_attr(workspace& space, const bound_arguments& given) {
  require_defined(given[0]);
  const auto name = str_of(space, given[1]).as_string();
  if (const auto found = attribute_only(space, given[0], name)) {
    return *found;
  }
  return space.undefined({.what = undefined_cause::reason::attribute,
                          .text = name,
                          .owner_type = type_name(given[0])});
}

constexpr std::array filters{
    builtin{"attr", filter_attr, {"obj", "name"}, 2},
    builtin{"batch", filter_batch, {"value", "linecount", "fill_with"}, 2},
    builtin{"count", filter_length, {"obj"}, 1, argument_style::by_position},
    builtin{"dictsort", filter_dictsort, {"value", "case_sensitive", "by", "reverse"}, 1},
    builtin{"first", filter_first, {"seq"}, 1},
    builtin{"groupby", filter_groupby, {"value", "attribute", "default", "case_sensitive"}, 2},
    builtin{"items", filter_items, {"value"}, 1},
    builtin{"join", filter_join, {"value", "d", "attribute"}, 1},
    builtin{"last", filter_last, {"seq"}, 1},
    builtin{"length", filter_length, {"obj"}, 1, argument_style::by_position},
    builtin{"list", filter_list, {"value"}, 1},
    builtin{"max", filter_extreme<true>, {"value", "case_sensitive", "attribute"}, 1},
    builtin{"min", filter_extreme<false>, {"value", "case_sensitive", "attribute"}, 1},
    builtin{"reverse", filter_reverse, {"value"}, 1},
    builtin{"slice", filter_slice, {"value", "slices", "fill_with"}, 2},
    builtin{"sort", filter_sort, {"value", "reverse", "case_sensitive", "attribute"}, 1},
    builtin{"sum", filter_sum, {"iterable", "attribute", "start"}, 1},
    builtin{"unique", filter_unique, {"value", "case_sensitive", "attribute"}, 1},
};
static_assert(is_sorted_by_name(filters));

} // namespace

const builtin* find_sequence_filter(std::string_view name) {
  return find_builtin(filters, name);
}

} // namespace vdist::text::jinja
