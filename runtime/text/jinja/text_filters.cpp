// Filters that take a text, and those that make one.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/format.hpp"
#include "runtime/text/jinja/json_text.hpp"
#include "runtime/text/jinja/markup.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/text_functions.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

/// Python's soft_str: what is a string stays as it is, HTML or not.
value soft_text(workspace& space, const value& one) {
  const auto made = one.is_string() ? one : str_of(space, one);
  space.spend_bytes(made.as_string().size());
  return made;
}

template <std::string (*Change)(std::string_view)>
value changed(workspace& space, const bound_arguments& given) {
  const auto text = soft_text(space, given[0]);
  const auto made = space.copy(Change(text.as_string()));
  return text.is_markup() ? value::markup(made.as_string()) : made;
}

/// Words begin at the start and behind - ( { [ < and white space.
std::string title_filter(std::string_view utf8) {
  std::string made;
  bool is_start = true;
  std::size_t begin = 0;
  const auto flush = [&](std::size_t end) {
    const auto word = utf8.substr(begin, end - begin);
    if (!word.empty()) {
      const auto first = code_point_at(word, 0).bytes;
      made += upper(word.substr(0, first)) + lower(word.substr(first));
    }
    begin = end;
  };
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const bool is_separator = is_python_space(c.value)
                              || (c.value < 0x80
                                  && std::string_view("-({[<").find(static_cast<char>(c.value))
                                         != std::string_view::npos);
    if (is_separator != is_start) {
      flush(at);
      is_start = is_separator;
    }
    at += c.bytes;
  }
  flush(utf8.size());
  return made;
}

value filter_center(workspace& space, const bound_arguments& given) {
  const auto width = require_integer(given.value_or(1, value::number(integer{80})), "center");
  return centred(space, soft_text(space, given[0]).as_string(), width, " ");
}

value filter_escape(workspace& space, const bound_arguments& given) {
  return escaped(space, given[0]);
}

value filter_force_escape(workspace& space, const bound_arguments& given) {
  return escaped(space, str_of(space, given[0]));
}

value filter_safe(workspace& space, const bound_arguments& given) {
  return value::markup(str_of(space, given[0]).as_string());
}

value filter_string(workspace& space, const bound_arguments& given) {
  return soft_text(space, given[0]);
}

value filter_format(workspace& space, const bound_arguments& given) {
  const auto& all = given.all();
  if (!all.named.empty() && !all.positional.empty()) {
    refuse("format: positional and keyword arguments at the same time");
  }
  const auto text = soft_text(space, given[0]).as_string();
  if (!all.named.empty()) {
    auto* names = space.make_dict();
    for (const auto& [name, one] : all.named) {
      names->set(space, value::string(name), one);
    }
    return percent_format(space, text, value::of(names));
  }
  auto* values = space.make_list();
  values->assign(all.positional.begin(), all.positional.end());
  return percent_format(space, text, value::tuple(values));
}

value filter_indent(workspace& space, const bound_arguments& given) {
  const auto text = require_string(given[0], "indent");
  const auto width = given.value_or(1, value::number(integer{4}));
  const value indention =
      width.is_string() ? width
                        : arithmetic(space, binary_operator::multiply, value::string(" "), width);
  const bool is_first = truth(space, given.value_or(2, value::boolean(false)));
  const bool is_blank = truth(space, given.value_or(3, value::boolean(false)));
  space.spend_bytes(text.size());
  // jinja2 adds a line break before it splits, so that a last empty line counts.
  auto with_end = space.text();
  with_end += text;
  with_end += '\n';
  auto made = space.text();
  bool is_next = false;
  for (const auto line : split_lines(with_end, line_ends::dropped)) {
    space.spend_bytes(line.size() + indention.as_string().size());
    made += is_next ? "\n" : "";
    if (is_next ? is_blank || !line.empty() : is_first) {
      made += indention.as_string();
    }
    made += line;
    is_next = true;
  }
  return space.done(std::move(made));
}

value filter_replace(workspace& space, const bound_arguments& given) {
  const auto count = given.value_or(3, value::none());
  return replaced(space,
                  str_of(space, given[0]).as_string(),
                  str_of(space, given[1]).as_string(),
                  str_of(space, given[2]).as_string(),
                  count.is_none() ? integer{-1} : require_integer(count, "replace"));
}

value filter_trim(workspace& space, const bound_arguments& given) {
  const auto text = soft_text(space, given[0]);
  const auto made = value::string(
      stripped(space, text.as_string(), given.value_or(1, value::none()), strip_side::both));
  return text.is_markup() ? value::markup(made.as_string()) : made;
}

/// Tags and comments go, white space becomes single spaces. References stay.
value filter_strip_tags(workspace& space, const bound_arguments& given) {
  const auto text = str_of(space, given[0]).as_string();
  space.spend_bytes(text.size());
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const bool is_comment = text.substr(at).starts_with("<!--");
    const auto end = is_comment        ? find_text(text, "-->", at)
                     : text[at] == '<' ? find_text(text, ">", at)
                                       : std::string_view::npos;
    if (end != std::string_view::npos) {
      at = end + (is_comment ? 3 : 1);
    } else {
      kept += text[at++];
    }
  }
  auto made = space.text();
  for (const auto word : split_words(kept)) {
    made += made.empty() ? "" : " ";
    made += word;
  }
  return space.done(std::move(made));
}

value filter_truncate(workspace& space, const bound_arguments& given) {
  const auto length = require_integer(given.value_or(1, value::number(integer{255})), "truncate");
  const auto end = require_string(given.value_or(3, value::string("...")), "truncate");
  const auto leeway = given.value_or(4, value::none());
  const auto slack = leeway.is_none() ? integer{5} : require_integer(leeway, "truncate");
  const auto end_length = static_cast<integer>(count_characters(end));
  if (length < end_length || slack < 0) {
    refuse("truncate: length is less than that of the end, or leeway is negative");
  }
  const auto text = require_string(given[0], "truncate");
  space.spend_bytes(text.size());
  if (static_cast<integer>(count_characters(text)) <= length + slack) {
    return given[0];
  }
  auto kept =
      text.substr(0, offset_of_character(text, static_cast<std::size_t>(length - end_length)));
  if (!truth(space, given.value_or(2, value::boolean(false)))) {
    kept = kept.substr(0, kept.rfind(' '));
  }
  auto made = space.text();
  made += kept;
  made += end;
  return space.done(std::move(made));
}

void append_url_quoted(std::pmr::string& out, std::string_view bytes, bool is_query) {
  for (const char c : bytes) {
    const bool is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
                         || std::string_view("_.-~").find(c) != std::string_view::npos
                         || (c == '/' && !is_query);
    if (is_safe) {
      out += c;
    } else {
      out += is_query && c == ' ' ? "+" : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
}

value filter_url_encode(workspace& space, const bound_arguments& given) {
  auto made = space.text();
  const auto& one = given[0];
  if (one.is_string() || !is_iterable(space, one)) {
    const auto text = str_of(space, one).as_string();
    space.spend_bytes(text.size());
    append_url_quoted(made, text, false);
    return space.done(std::move(made));
  }
  const auto pairs = one.is(kind::dict) ? dict_view_of_items(space, one) : one;
  for (const auto& pair : elements_of(space, pairs)) {
    const auto& parts = elements_of(space, pair);
    if (parts.size() != 2) {
      refuse("urlencode: needs pairs");
    }
    made += made.empty() ? "" : "&";
    append_url_quoted(made, str_of(space, parts[0]).as_string(), true);
    made += '=';
    append_url_quoted(made, str_of(space, parts[1]).as_string(), true);
  }
  return space.done(std::move(made));
}

value filter_word_count(workspace& space, const bound_arguments& given) {
  const auto text = soft_text(space, given[0]).as_string();
  std::size_t count = 0;
  bool was_word = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = code_point_at(text, at);
    const bool is_word = is_name_part(c.value);
    count += is_word && !was_word ? 1 : 0;
    was_word = is_word;
    at += c.bytes;
  }
  return value::number(count);
}

value filter_xml_attributes(workspace& space, const bound_arguments& given) {
  if (!given[0].is(kind::dict)) {
    require_defined(given[0]);
    refuse(fmt::format("'{}' object has no attribute 'items'", type_name(given[0])));
  }
  auto made = space.text();
  for (const auto& [key, one] : given[0].as_dict().entries()) {
    if (one.is_none() || one.is_undefined()) {
      continue;
    }
    const auto name = require_string(key, "xmlattr");
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      refuse(fmt::format("invalid character in attribute name: '{}'", name));
    }
    made += made.empty() ? "" : " ";
    made += escaped(space, key).as_string();
    made += "=\"";
    made += escaped(space, one).as_string();
    made += '"';
  }
  if (!made.empty() && truth(space, given.value_or(1, value::boolean(true)))) {
    made.insert(0, 1, ' ');
  }
  return space.done(std::move(made));
}

/// tojson as transformers has it: json.dumps without jinja2's escapes for HTML.
value filter_to_json(workspace& space, const bound_arguments& given) {
  json_layout layout;
  layout.is_ascii = truth(space, given.value_or(1, value::boolean(false)));
  layout.is_sorted = truth(space, given.value_or(4, value::boolean(false)));
  if (const auto indent = given.value_or(2, value::none()); !indent.is_none()) {
    layout.is_indented = true;
    layout.item_separator = ",";
    layout.indent = indent.is_string()
                        ? indent.as_string()
                        : arithmetic(space,
                                     binary_operator::multiply,
                                     value::string(" "),
                                     value::number(require_integer(indent, "tojson")))
                              .as_string();
  }
  if (const auto separators = given.value_or(3, value::none()); !separators.is_none()) {
    const auto& both = elements_of(space, separators);
    if (both.size() != 2) {
      refuse("tojson: separators must be two");
    }
    layout.item_separator = require_string(both[0], "tojson");
    layout.key_separator = require_string(both[1], "tojson");
  }
  auto made = space.text();
  append_json(space, made, given[0], layout);
  return space.done(std::move(made));
}

value filter_unsupported(workspace&, const bound_arguments&) {
  throw template_error(errc::unsupported,
                       "filters pprint, random, urlize and wordwrap are unsupported");
}

constexpr auto any = argument_style::any;

constexpr std::array filters{
    builtin{"capitalize", changed<capitalise>, {"s"}, 1},
    builtin{"center", filter_center, {"value", "width"}, 1},
    builtin{"e", filter_escape, {"s"}, 1},
    builtin{"escape", filter_escape, {"s"}, 1},
    builtin{"forceescape", filter_force_escape, {"value"}, 1},
    builtin{"format", filter_format, {"value"}, 1, any},
    builtin{"indent", filter_indent, {"s", "width", "first", "blank"}, 1},
    builtin{"lower", changed<lower>, {"s"}, 1},
    builtin{"pprint", filter_unsupported, {"value"}, 1, any},
    builtin{"random", filter_unsupported, {"seq"}, 1, any},
    builtin{"replace", filter_replace, {"s", "old", "new", "count"}, 3},
    builtin{"safe", filter_safe, {"value"}, 1},
    builtin{"string", filter_string, {"object"}, 1},
    builtin{"striptags", filter_strip_tags, {"value"}, 1},
    builtin{"title", changed<title_filter>, {"s"}, 1},
    builtin{
        "tojson", filter_to_json, {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1},
    builtin{"trim", filter_trim, {"value", "chars"}, 1},
    builtin{"truncate", filter_truncate, {"s", "length", "killwords", "end", "leeway"}, 1},
    builtin{"upper", changed<upper>, {"s"}, 1},
    builtin{"urlencode", filter_url_encode, {"value"}, 1},
    builtin{"urlize", filter_unsupported, {"value"}, 1, any},
    builtin{"wordcount", filter_word_count, {"s"}, 1},
    builtin{"wordwrap", filter_unsupported, {"s"}, 1, any},
    builtin{"xmlattr", filter_xml_attributes, {"d", "autospace"}, 1},
};
static_assert(is_sorted_by_name(filters));

} // namespace

const builtin* find_text_filter(std::string_view name) {
  return find_builtin(filters, name);
}

} // namespace vdist::text::jinja
