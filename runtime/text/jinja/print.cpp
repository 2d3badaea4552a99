#include "runtime/text/jinja/print.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

void append_elements(workspace& space, std::pmr::string& out, const list& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    out += i == 0 ? "" : ", ";
    append_repr(space, out, all[i]);
  }
}

void append_dict(workspace& space, std::pmr::string& out, const dict& all) {
  out += '{';
  bool is_first = true;
  for (const auto& [key, element] : all.entries()) {
    out += is_first ? "" : ", ";
    is_first = false;
    append_repr(space, out, key);
    out += ": ";
    append_repr(space, out, element);
  }
  out += '}';
}

} // namespace

void append_quoted(std::pmr::string& out, std::string_view utf8) {
  const bool has_single = utf8.find('\'') != std::string_view::npos;
  const char quote = has_single && utf8.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const auto number = static_cast<std::uint32_t>(c.value);
    if (number == static_cast<std::uint32_t>(quote) || number == '\\') {
      out += '\\';
      out += static_cast<char>(number);
    } else if (number == '\n' || number == '\r' || number == '\t') {
      out += number == '\n' ? "\\n" : number == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c.value)) {
      out += utf8.substr(at, c.bytes);
    } else {
      out += number < 0x100     ? fmt::format("\\x{:02x}", number)
             : number < 0x10000 ? fmt::format("\\u{:04x}", number)
                                : fmt::format("\\U{:08x}", number);
    }
    at += c.bytes;
  }
  out += quote;
}

void append_repr(workspace& space, std::pmr::string& out, const value& one) {
  const workspace::level inside(space);
  space.spend();
  switch (one.what()) {
  case kind::undefined:
    out += "Undefined";
    break;
  case kind::none:
    out += "None";
    break;
  case kind::boolean:
    out += one.as_boolean() ? "True" : "False";
    break;
  case kind::integer:
    out += text_of(one.as_integer());
    break;
  case kind::real:
    out += repr_of_real(one.as_real());
    break;
  case kind::string:
    space.spend_bytes(one.as_string().size());
    if (one.is_markup()) {
      out += "Markup(";
    }
    append_quoted(out, one.as_string());
    out += one.is_markup() ? ")" : "";
    break;
  case kind::list:
    out += '[';
    append_elements(space, out, one.as_list());
    out += ']';
    break;
  case kind::tuple:
    out += '(';
    append_elements(space, out, one.as_list());
    out += one.as_list().size() == 1 ? ",)" : ")";
    break;
  case kind::dict:
    append_dict(space, out, one.as_dict());
    break;
  case kind::object:
    one.as_object().print(space, out);
    break;
  }
}

void append_str(workspace& space, std::pmr::string& out, const value& one) {
  if (one.is_string()) {
    space.spend_bytes(one.as_string().size());
    out += one.as_string();
  } else if (!one.is_undefined()) {
    append_repr(space, out, one);
  }
}

value str_of(workspace& space, const value& one) {
  if (one.is_string()) {
    return value::string(one.as_string());
  }
  auto made = space.text();
  append_str(space, made, one);
  return space.done(std::move(made));
}

} // namespace vdist::text::jinja
