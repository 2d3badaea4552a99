// text.format(values), with attributes and elements by the sandbox's rules.
#include "runtime/text/jinja/access.hpp"
#include "runtime/text/jinja/format.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

class brace_formatter {
public:
  brace_formatter(workspace& space, const call_arguments& values)
      : space_(space), values_(values) {}

  void run(std::pmr::string& out, std::string_view text, int nested_max) {
    std::size_t at = 0;
    while (at < text.size()) {
      const auto brace = std::min(text.find_first_of("{}", at), text.size());
      out += text.substr(at, brace - at);
      at = brace;
      if (at == text.size()) {
        break;
      }
      if (at + 1 < text.size() && text[at + 1] == text[at]) {
        out += text[at];
        at += 2;
        continue;
      }
      if (text[at] == '}') {
        refuse("single '}' encountered in format string");
      }
      const auto end = end_of_field(text, at + 1);
      if (nested_max == 0) {
        refuse("max string recursion exceeded");
      }
      field(out, text.substr(at + 1, end - at - 1), nested_max);
      at = end + 1;
    }
  }

private:
  static std::size_t end_of_field(std::string_view text, std::size_t at) {
    std::size_t depth = 1;
    for (; at < text.size(); ++at) {
      if (text[at] == '[') { // a key may hold any brace
        const auto close = text.find(']', at);
        at = close == std::string_view::npos ? at : close;
      }
      depth += text[at] == '{' ? 1 : 0;
      if (text[at] == '}' && --depth == 0) {
        return at;
      }
    }
    refuse("expected '}' before end of string");
  }

  void field(std::pmr::string& out, std::string_view text, int nested_max) {
    auto name_end = std::min(text.find_first_of("!:["), text.size());
    while (name_end < text.size() && text[name_end] == '[') {
      const auto close = text.find(']', name_end);
      if (close == std::string_view::npos) {
        refuse("missing ']' in format string");
      }
      name_end = std::min(text.find_first_of("!:[", close), text.size());
    }
    auto one = named(text.substr(0, name_end));
    auto rest = text.substr(name_end);
    if (rest.starts_with('!')) {
      one = converted(one, rest);
      rest.remove_prefix(2);
      if (!rest.empty() && rest[0] != ':') {
        refuse("expected ':' after conversion specifier");
      }
    }
    auto specification = space_.text();
    if (!rest.empty()) {
      run(specification, rest.substr(1), nested_max - 1);
    }
    show(out, one, specification);
  }

  value converted(const value& one, std::string_view rest) {
    const char how = rest.size() > 1 ? rest[1] : '\0';
    if (how == 's') {
      return str_of(space_, one);
    }
    if (how != 'r') {
      refuse("unknown conversion specifier");
    }
    auto text = space_.text();
    append_repr(space_, text, one);
    return space_.done(std::move(text));
  }

  void show(std::pmr::string& out, const value& one, std::string_view specification) {
    space_.spend_bytes(specification.size());
    if (specification.empty()) {
      return append_str(space_, out, one);
    }
    if (!one.is_string() && !one.is_number()) {
      refuse(fmt::format("unsupported format string passed to {}.__format__", type_name(one)));
    }
    const auto as = parse_specification(specification);
    space_.spend_bytes(as.width);
    if (one.is(kind::real)) {
      return append_formatted(out, one.as_real(), as);
    }
    if (one.is_integer()) {
      return append_formatted(out, one.as_integer(), as);
    }
    if ((as.type != '\0' && as.type != 's') || as.sign != '-' || as.grouping != '\0'
        || as.is_alternate) {
      refuse("format specification does not fit a string");
    }
    append_padded(out, one.as_string(), as);
  }

  /// name, then .attribute and [element] as often as they come.
  value named(std::string_view path) {
    const auto end = std::min(path.find_first_of(".["), path.size());
    value made = first(path.substr(0, end));
    path.remove_prefix(end);
    while (!path.empty()) {
      const bool is_attribute = path[0] == '.';
      const auto stop = is_attribute ? std::min(path.find_first_of(".[", 1), path.size())
                                     : std::min(path.find(']'), path.size());
      const auto key = path.substr(1, stop - 1);
      if (key.empty()) {
        refuse("empty attribute in format string");
      }
      const auto index = is_attribute ? std::nullopt : plain_number(key);
      made = is_attribute
                 ? attribute_of(space_, made, key)
                 : item_of(space_, made, index ? value::number(*index) : value::string(key));
      path.remove_prefix(std::min(path.size(), stop + (is_attribute ? 0 : 1)));
    }
    return made;
  }

  static std::optional<integer> plain_number(std::string_view text) {
    const bool is_number = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
      return c >= '0' && c <= '9';
    });
    return is_number ? parse_integer(text, 10) : std::nullopt;
  }

  value first(std::string_view name) {
    const auto number = name.empty() ? std::optional(next_) : plain_number(name);
    if (number) {
      auto& numbering = name.empty() ? is_automatic_ : is_manual_;
      numbering = true;
      next_ += name.empty() ? 1 : 0;
      if (is_automatic_ && is_manual_) {
        refuse("cannot switch between automatic and manual field numbering");
      }
      if (*number >= static_cast<integer>(values_.positional.size())) {
        refuse(fmt::format("replacement index {} out of range", text_of(*number)));
      }
      return values_.positional[static_cast<std::size_t>(*number)];
    }
    for (const auto& [key, one] : values_.named) {
      if (key == name) {
        return one;
      }
    }
    refuse(fmt::format("no value for format key '{}'", name));
  }

  workspace& space_;
  const call_arguments& values_;
  integer next_ = 0;
  bool is_automatic_ = false;
  bool is_manual_ = false;
};

} // namespace

value brace_format(workspace& space, std::string_view text, const call_arguments& values) {
  space.spend_bytes(text.size());
  auto out = space.text();
  brace_formatter(space, values).run(out, text, 2);
  return space.done(std::move(out));
}

} // namespace vdist::text::jinja
