#include "runtime/text/jinja/json_text.hpp"

#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::text::jinja {
namespace {

std::string_view checked_text(const std::string& text) {
  if (find_invalid_utf8(text) != std::string::npos) {
    refuse("a text of the context is not UTF-8");
  }
  return text;
}

void append_unicode_escape(std::pmr::string& out, char32_t c) {
  const auto number = static_cast<std::uint32_t>(c);
  if (number < 0x10000) {
    out += fmt::format("\\u{:04x}", number);
  } else {
    out += fmt::format("\\u{:04x}\\u{:04x}",
                       0xD800U + ((number - 0x10000U) >> 10U),
                       0xDC00U + ((number - 0x10000U) & 0x3FFU));
  }
}

void append_json_string(std::pmr::string& out, std::string_view utf8, bool is_ascii) {
  constexpr std::string_view special = "\"\\\n\r\t\f\b";
  constexpr std::string_view letters = "\"\\nrtfb";
  out += '"';
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const auto found = c.bytes == 1 ? special.find(utf8[at]) : std::string_view::npos;
    if (found != std::string_view::npos) {
      out += '\\';
      out += letters[found];
    } else if (c.value < 0x20 || (is_ascii && c.value > 0x7E)) {
      c.value == 0x7F ? void(out += '\x7F') : append_unicode_escape(out, c.value);
    } else {
      out += utf8.substr(at, c.bytes);
    }
    at += c.bytes;
  }
  out += '"';
}

std::string json_number(const value& one) {
  if (one.is(kind::boolean)) {
    return one.as_boolean() ? "true" : "false";
  }
  if (one.is(kind::integer)) {
    return text_of(one.as_integer());
  }
  const double r = one.as_real();
  return std::isnan(r)   ? "NaN"
         : std::isinf(r) ? (r > 0 ? "Infinity" : "-Infinity")
                         : repr_of_real(r);
}

void append_key(std::pmr::string& out, const value& key, bool is_ascii) {
  if (key.is_string()) {
    append_json_string(out, key.as_string(), is_ascii);
  } else if (key.is_number() || key.is_none()) {
    out += '"';
    out += key.is_none() ? "null" : json_number(key);
    out += '"';
  } else {
    refuse(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
  }
}

void append_line(std::pmr::string& out, const json_layout& layout, std::size_t depth) {
  if (layout.is_indented) {
    out += '\n';
    for (std::size_t i = 0; i < depth; ++i) {
      out += layout.indent;
    }
  }
}

void append_members(workspace& space,
                    std::pmr::string& out,
                    const dict& all,
                    const json_layout& layout,
                    std::size_t depth) {
  std::pmr::vector<std::pair<value, value>> sorted(space.memory());
  if (layout.is_sorted) {
    sorted = all.entries();
    std::stable_sort(sorted.begin(), sorted.end(), [&space](const auto& a, const auto& b) {
      return is_less(space, a.first, b.first);
    });
  }
  out += '{';
  bool is_first = true;
  for (const auto& [key, element] : layout.is_sorted ? sorted : all.entries()) {
    out += is_first ? "" : layout.item_separator;
    is_first = false;
    append_line(out, layout, depth + 1);
    append_key(out, key, layout.is_ascii);
    out += layout.key_separator;
    append_json(space, out, element, layout, depth + 1);
  }
  if (!is_first) {
    append_line(out, layout, depth);
  }
  out += '}';
}

} // namespace

value value_of_json(workspace& space, const nlohmann::ordered_json& json) {
  const workspace::level inside(space);
  space.spend();
  switch (json.type()) {
  case nlohmann::ordered_json::value_t::boolean:
    return value::boolean(json.get<bool>());
  case nlohmann::ordered_json::value_t::number_integer:
    return value::number(static_cast<integer>(json.get<std::int64_t>()));
  case nlohmann::ordered_json::value_t::number_unsigned:
    return value::number(static_cast<integer>(json.get<std::uint64_t>()));
  case nlohmann::ordered_json::value_t::number_float:
    return value::real(json.get<double>());
  case nlohmann::ordered_json::value_t::string: {
    const auto& text = json.get_ref<const std::string&>();
    space.spend_bytes(text.size());
    return value::string(checked_text(text));
  }
  case nlohmann::ordered_json::value_t::array: {
    auto* made = space.make_list();
    made->reserve(json.size());
    for (const auto& element : json) {
      made->push_back(value_of_json(space, element));
    }
    return value::of(made);
  }
  case nlohmann::ordered_json::value_t::object: {
    auto* made = space.make_dict();
    made->reserve(json.size());
    for (auto it = json.begin(); it != json.end(); ++it) {
      made->set(space, value::string(checked_text(it.key())), value_of_json(space, it.value()));
    }
    return value::of(made);
  }
  default:
    return value::none();
  }
}

void append_json(workspace& space,
                 std::pmr::string& out,
                 const value& one,
                 const json_layout& layout,
                 std::size_t depth) {
  const workspace::level inside(space);
  space.spend(1 + (layout.is_indented ? depth * layout.indent.size() / 64 : 0));
  switch (one.what()) {
  case kind::none:
    out += "null";
    return;
  case kind::boolean:
  case kind::integer:
  case kind::real:
    out += json_number(one);
    return;
  case kind::string:
    space.spend_bytes(one.as_string().size());
    return append_json_string(out, one.as_string(), layout.is_ascii);
  case kind::dict:
    return append_members(space, out, one.as_dict(), layout, depth);
  case kind::list:
  case kind::tuple: {
    out += '[';
    bool is_first = true;
    for (const auto& element : one.as_list()) {
      out += is_first ? "" : layout.item_separator;
      is_first = false;
      append_line(out, layout, depth + 1);
      append_json(space, out, element, layout, depth + 1);
    }
    if (!is_first) {
      append_line(out, layout, depth);
    }
    out += ']';
    return;
  }
  default:
    refuse(fmt::format("Object of type {} is not JSON serializable", type_name(one)));
  }
}

} // namespace vdist::text::jinja
