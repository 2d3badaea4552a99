#include "runtime/text/jinja/markup.hpp"

#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/workspace.hpp"

namespace vdist::text::jinja {

value escaped(workspace& space, const value& one) {
  if (one.is_markup()) {
    return one;
  }
  const auto plain = str_of(space, one).as_string();
  space.spend_bytes(plain.size());
  auto made = space.text();
  made.reserve(plain.size());
  for (const char c : plain) {
    switch (c) {
    case '&':
      made += "&amp;";
      break;
    case '<':
      made += "&lt;";
      break;
    case '>':
      made += "&gt;";
      break;
    case '"':
      made += "&#34;";
      break;
    case '\'':
      made += "&#39;";
      break;
    default:
      made += c;
    }
  }
  return value::markup(space.done(std::move(made)).as_string());
}

value joined_markup(workspace& space, const value& a, const value& b) {
  auto made = space.text();
  made += escaped(space, a).as_string();
  made += escaped(space, b).as_string();
  return value::markup(space.done(std::move(made)).as_string());
}

} // namespace vdist::text::jinja
