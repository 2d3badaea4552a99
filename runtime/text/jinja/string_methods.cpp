// The methods of str.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/format.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/text_functions.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

constexpr auto npos = std::string_view::npos;

std::string_view self_of(workspace& space, const bound_arguments& given) {
  space.spend_bytes(given[0].as_string().size());
  return given[0].as_string();
}

template <std::string (*Change)(std::string_view)>
value changed(workspace& space, const bound_arguments& given) {
  return space.copy(Change(self_of(space, given)));
}

template <character_class Class>
value asked(workspace& space, const bound_arguments& given) {
  return value::boolean(is_all(Class, self_of(space, given)));
}

template <strip_side Side>
value method_strip(workspace& space, const bound_arguments& given) {
  return value::string(
      stripped(space, given[0].as_string(), given.value_or(1, value::none()), Side));
}

/// The part between two character positions that may be negative or None, and where it begins.
struct part_of_text {
  std::string_view text;
  integer first = 0;     // character
  bool is_inside = true; // false when it begins behind the end
};

part_of_text
part(std::string_view text, const bound_arguments& given, std::size_t start_parameter) {
  const auto start = given.value_or(start_parameter, value::none());
  const auto stop = given.value_or(start_parameter + 1, value::none());
  if (start.is_none() && stop.is_none()) {
    return {text};
  }
  const auto count = static_cast<integer>(count_characters(text));
  const auto bound = [count](const value& one, integer fallback) {
    if (one.is_none()) {
      return fallback;
    }
    const auto i = require_integer(one, "slice index");
    return i < 0 ? std::max(i + count, integer{0}) : i;
  };
  const auto first = bound(start, 0);
  const auto last = std::min(bound(stop, count), count);
  if (first > last) {
    return {{}, first, false};
  }
  const auto begin = offset_of_character(text, static_cast<std::size_t>(first));
  const auto end = offset_of_character(text, static_cast<std::size_t>(last));
  return {text.substr(begin, end - begin), first};
}

/// A prefix or suffix, or a tuple of them.
template <bool AtEnd>
value method_edge(workspace& space, const bound_arguments& given) {
  constexpr std::string_view name = AtEnd ? "endswith" : "startswith";
  const auto inside = part(self_of(space, given), given, 2);
  const auto matches = [&inside](std::string_view edge) {
    return inside.is_inside
           && (AtEnd ? inside.text.ends_with(edge) : inside.text.starts_with(edge));
  };
  const auto& edges = given[1];
  if (!edges.is(kind::tuple)) {
    if (!edges.is_string()) {
      refuse(fmt::format(
          "{} first arg must be str or a tuple of str, not {}", name, type_name(edges)));
    }
    return value::boolean(matches(edges.as_string()));
  }
  for (const auto& edge : edges.as_list()) {
    space.spend();
    if (matches(require_string(edge, name))) {
      return value::boolean(true);
    }
  }
  return value::boolean(false);
}

integer position_of(workspace& space, const bound_arguments& given, bool is_last) {
  const auto inside = part(self_of(space, given), given, 2);
  const auto wanted = require_string(given[1], "find");
  if (!inside.is_inside) {
    return -1;
  }
  const auto found = is_last ? find_last_text(inside.text, wanted) : find_text(inside.text, wanted);
  return found == npos
             ? -1
             : inside.first + static_cast<integer>(count_characters(inside.text.substr(0, found)));
}

template <bool IsLast>
value method_find(workspace& space, const bound_arguments& given) {
  return value::number(position_of(space, given, IsLast));
}

template <bool IsLast>
value method_index(workspace& space, const bound_arguments& given) {
  const auto found = position_of(space, given, IsLast);
  if (found < 0) {
    refuse("substring not found");
  }
  return value::number(found);
}

value method_count(workspace& space, const bound_arguments& given) {
  const auto inside = part(self_of(space, given), given, 2);
  const auto wanted = require_string(given[1], "count");
  if (!inside.is_inside) {
    return value::number(integer{0});
  }
  if (wanted.empty()) {
    return value::number(count_characters(inside.text) + 1);
  }
  std::size_t count = 0;
  for (auto at = find_text(inside.text, wanted); at != npos;
       at = find_text(inside.text, wanted, at + wanted.size())) {
    ++count;
  }
  return value::number(count);
}

value method_replace(workspace& space, const bound_arguments& given) {
  return replaced(space,
                  self_of(space, given),
                  require_string(given[1], "replace"),
                  require_string(given[2], "replace"),
                  require_integer(given.value_or(3, value::number(integer{-1})), "replace"));
}

value strings_of(workspace& space, const std::vector<std::string_view>& parts) {
  space.spend(1 + parts.size());
  auto* made = space.make_list();
  made->reserve(parts.size());
  for (const auto one : parts) {
    made->push_back(value::string(one));
  }
  return value::of(made);
}

/// How many cuts; no bound as a very large number.
std::size_t cuts_of(const bound_arguments& given) {
  const auto cuts = require_integer(given.value_or(2, value::number(integer{-1})), "split");
  return cuts < 0 ? npos : static_cast<std::size_t>(std::min(cuts, integer{1} << 40U));
}

std::vector<std::string_view>
split_at(std::string_view text, std::string_view by, std::size_t cuts) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  for (; cuts > 0; --cuts) {
    const auto found = find_text(text, by, begin);
    if (found == npos) {
      break;
    }
    parts.push_back(text.substr(begin, found - begin));
    begin = found + by.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string_view>
split_at_from_right(std::string_view text, std::string_view by, std::size_t cuts) {
  // Occurrences from the right need not be those from the left: "aaa" at "aa".
  const std::string back(text.rbegin(), text.rend());
  const std::string back_by(by.rbegin(), by.rend());
  std::vector<std::string_view> parts;
  for (const auto one : split_at(back, back_by, cuts)) {
    const auto from_end = static_cast<std::size_t>(one.data() - back.data()) + one.size();
    parts.push_back(text.substr(text.size() - from_end, one.size()));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at_space(std::string_view text, std::size_t cuts) {
  std::vector<std::string_view> parts;
  text = strip_left(text);
  while (!text.empty()) {
    if (parts.size() == cuts) {
      parts.push_back(text); // with the space at its end, as Python does
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const auto c = code_point_at(text, end);
      if (is_python_space(c.value)) {
        break;
      }
      end += c.bytes;
    }
    parts.push_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  return parts;
}

std::vector<std::string_view> split_at_space_from_right(std::string_view text, std::size_t cuts) {
  std::vector<std::string_view> parts;
  text = strip_right(text);
  while (!text.empty()) {
    if (parts.size() == cuts) {
      parts.push_back(text);
      break;
    }
    auto begin = text.size();
    while (begin > 0) {
      const auto before = code_point_before(text, begin);
      if (is_python_space(code_point_at(text, before).value)) {
        break;
      }
      begin = before;
    }
    parts.push_back(text.substr(begin));
    text = strip_right(text.substr(0, begin));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool FromRight>
value method_split(workspace& space, const bound_arguments& given) {
  const auto text = self_of(space, given);
  const auto by = given.value_or(1, value::none());
  const auto cuts = cuts_of(given);
  if (by.is_none()) {
    return strings_of(
        space, FromRight ? split_at_space_from_right(text, cuts) : split_at_space(text, cuts));
  }
  const auto separator = require_string(by, "split");
  if (separator.empty()) {
    refuse("empty separator");
  }
  return strings_of(space,
                    FromRight ? split_at_from_right(text, separator, cuts)
                              : split_at(text, separator, cuts));
}

template <bool FromRight>
value method_partition(workspace& space, const bound_arguments& given) {
  const auto text = self_of(space, given);
  const auto by = require_string(given[1], "partition");
  if (by.empty()) {
    refuse("empty separator");
  }
  const auto found = FromRight ? find_last_text(text, by) : find_text(text, by);
  auto* made = space.make_list();
  if (found == npos) {
    made->assign(3, value::string(""));
    (*made)[FromRight ? 2 : 0] = given[0];
  } else {
    made->push_back(value::string(text.substr(0, found)));
    made->push_back(value::string(by));
    made->push_back(value::string(text.substr(found + by.size())));
  }
  return value::tuple(made);
}

value method_split_lines(workspace& space, const bound_arguments& given) {
  const bool keeps = truth(space, given.value_or(1, value::boolean(false)));
  return strings_of(
      space, split_lines(self_of(space, given), keeps ? line_ends::kept : line_ends::dropped));
}

value method_join(workspace& space, const bound_arguments& given) {
  const auto separator = given[0].as_string();
  auto& all = iterate(space, given[1]);
  auto made = space.text();
  std::size_t count = 0;
  while (const auto item = all.next(space)) {
    if (!item->is_string()) {
      refuse(fmt::format(
          "sequence item {}: expected str instance, {} found", count, type_name(*item)));
    }
    space.spend_bytes(separator.size() + item->as_string().size());
    made += count++ > 0 ? separator : "";
    made += item->as_string();
  }
  return space.done(std::move(made));
}

value method_format(workspace& space, const bound_arguments& given) {
  return brace_format(space, given[0].as_string(), given.all());
}

std::string_view fill_of(const bound_arguments& given) {
  const auto fill = require_string(given.value_or(2, value::string(" ")), "fillchar");
  if (count_characters(fill) != 1) {
    refuse("The fill character must be exactly one character long");
  }
  return fill;
}

value method_center(workspace& space, const bound_arguments& given) {
  return centred(space, self_of(space, given), require_integer(given[1], "center"), fill_of(given));
}

template <bool ToRight>
value method_justify(workspace& space, const bound_arguments& given) {
  const auto text = self_of(space, given);
  const auto fill = fill_of(given);
  auto missing =
      require_integer(given[1], "justify") - static_cast<integer>(count_characters(text));
  auto made = space.text();
  made += ToRight ? "" : text;
  for (; missing > 0; --missing) {
    space.spend();
    made += fill;
  }
  made += ToRight ? text : "";
  return space.done(std::move(made));
}

value method_zero_fill(workspace& space, const bound_arguments& given) {
  const auto text = self_of(space, given);
  auto missing = require_integer(given[1], "zfill") - static_cast<integer>(count_characters(text));
  const bool is_signed = text.starts_with('-') || text.starts_with('+');
  auto made = space.text();
  made += text.substr(0, is_signed ? 1 : 0);
  for (; missing > 0; --missing) {
    space.spend();
    made += '0';
  }
  made += text.substr(is_signed ? 1 : 0);
  return space.done(std::move(made));
}

value method_expand_tabs(workspace& space, const bound_arguments& given) {
  const auto text = self_of(space, given);
  const auto size = require_integer(given.value_or(1, value::number(integer{8})), "expandtabs");
  auto made = space.text();
  integer column = 0;
  for (const char c : text) {
    if (c == '\t') {
      for (auto left = size > 0 ? size - column % size : integer{0}; left > 0; --left) {
        space.spend();
        made += ' ';
        ++column;
      }
      continue;
    }
    made += c;
    const bool is_character = (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    column = c == '\n' || c == '\r' ? 0 : column + (is_character ? 1 : 0);
  }
  return space.done(std::move(made));
}

template <bool AtEnd>
value method_remove_edge(workspace& space, const bound_arguments& given) {
  auto text = self_of(space, given);
  const auto edge = require_string(given[1], AtEnd ? "removesuffix" : "removeprefix");
  if (AtEnd ? text.ends_with(edge) : text.starts_with(edge)) {
    text = AtEnd ? text.substr(0, text.size() - edge.size()) : text.substr(edge.size());
  }
  return value::string(text);
}

value method_is_ascii(workspace& space, const bound_arguments& given) {
  return value::boolean(is_ascii(self_of(space, given)));
}

constexpr auto fixed = argument_style::by_position;

constexpr std::array methods{
    builtin{"capitalize", changed<capitalise>, {"self"}, 1, fixed},
    builtin{"casefold", changed<fold_case>, {"self"}, 1, fixed},
    builtin{"center", method_center, {"self", "width", "fillchar"}, 2, fixed},
    builtin{"count", method_count, {"self", "sub", "start", "end"}, 2, fixed},
    builtin{"endswith", method_edge<true>, {"self", "suffix", "start", "end"}, 2, fixed},
    builtin{"expandtabs", method_expand_tabs, {"self", "tabsize"}, 1},
    builtin{"find", method_find<false>, {"self", "sub", "start", "end"}, 2, fixed},
    builtin{"format", method_format, {"self"}, 1, argument_style::any},
    builtin{"index", method_index<false>, {"self", "sub", "start", "end"}, 2, fixed},
    builtin{"isalnum", asked<character_class::alphanumeric>, {"self"}, 1, fixed},
    builtin{"isalpha", asked<character_class::alphabetic>, {"self"}, 1, fixed},
    builtin{"isascii", method_is_ascii, {"self"}, 1, fixed},
    builtin{"isdecimal", asked<character_class::decimal>, {"self"}, 1, fixed},
    builtin{"isdigit", asked<character_class::digit>, {"self"}, 1, fixed},
    builtin{"isidentifier", asked<character_class::identifier>, {"self"}, 1, fixed},
    builtin{"islower", asked<character_class::lower>, {"self"}, 1, fixed},
    builtin{"isnumeric", asked<character_class::numeric>, {"self"}, 1, fixed},
    builtin{"isprintable", asked<character_class::printable>, {"self"}, 1, fixed},
    builtin{"isspace", asked<character_class::space>, {"self"}, 1, fixed},
    builtin{"istitle", asked<character_class::title>, {"self"}, 1, fixed},
    builtin{"isupper", asked<character_class::upper>, {"self"}, 1, fixed},
    builtin{"join", method_join, {"self", "iterable"}, 2, fixed},
    builtin{"ljust", method_justify<false>, {"self", "width", "fillchar"}, 2, fixed},
    builtin{"lower", changed<lower>, {"self"}, 1, fixed},
    builtin{"lstrip", method_strip<strip_side::left>, {"self", "chars"}, 1, fixed},
    builtin{"partition", method_partition<false>, {"self", "sep"}, 2, fixed},
    builtin{"removeprefix", method_remove_edge<false>, {"self", "prefix"}, 2, fixed},
    builtin{"removesuffix", method_remove_edge<true>, {"self", "suffix"}, 2, fixed},
    builtin{"replace", method_replace, {"self", "old", "new", "count"}, 3, fixed},
    builtin{"rfind", method_find<true>, {"self", "sub", "start", "end"}, 2, fixed},
    builtin{"rindex", method_index<true>, {"self", "sub", "start", "end"}, 2, fixed},
    builtin{"rjust", method_justify<true>, {"self", "width", "fillchar"}, 2, fixed},
    builtin{"rpartition", method_partition<true>, {"self", "sep"}, 2, fixed},
    builtin{"rsplit", method_split<true>, {"self", "sep", "maxsplit"}, 1},
    builtin{"rstrip", method_strip<strip_side::right>, {"self", "chars"}, 1, fixed},
    builtin{"split", method_split<false>, {"self", "sep", "maxsplit"}, 1},
    builtin{"splitlines", method_split_lines, {"self", "keepends"}, 1},
    builtin{"startswith", method_edge<false>, {"self", "prefix", "start", "end"}, 2, fixed},
    builtin{"strip", method_strip<strip_side::both>, {"self", "chars"}, 1, fixed},
    builtin{"swapcase", changed<swap_case>, {"self"}, 1, fixed},
    builtin{"title", changed<title>, {"self"}, 1, fixed},
    builtin{"upper", changed<upper>, {"self"}, 1, fixed},
    builtin{"zfill", method_zero_fill, {"self", "width"}, 2, fixed},
};
static_assert(is_sorted_by_name(methods));

} // namespace

const builtin* find_string_method(std::string_view name) {
  return find_builtin(methods, name);
}

} // namespace vdist::text::jinja
