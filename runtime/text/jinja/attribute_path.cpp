#include "runtime/text/jinja/attribute_path.hpp"

#include "runtime/text/jinja/access.hpp"
#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/workspace.hpp"

namespace vdist::text::jinja {

attribute_path::attribute_path(workspace& space, const value& attribute) {
  auto* parts = space.make_list();
  parts_ = parts;
  if (attribute.is_none()) {
    return;
  }
  if (!attribute.is_string()) {
    parts->push_back(attribute);
    return;
  }
  auto rest = attribute.as_string();
  space.spend_bytes(rest.size());
  for (;;) {
    const auto dot = rest.find('.');
    const auto part = rest.substr(0, dot);
    const bool is_number = is_all(character_class::decimal, part);
    const auto number = is_number ? parse_integer(part, 10) : std::nullopt;
    parts->push_back(number ? value::number(*number) : value::string(part));
    if (dot == std::string_view::npos) {
      return;
    }
    rest.remove_prefix(dot + 1);
  }
}

value attribute_path::walk(workspace& space,
                           value item,
                           const std::optional<value>& fallback) const {
  for (const auto& part : *parts_) {
    item = item_of(space, item, part);
    if (fallback && item.is_undefined()) {
      item = *fallback;
    }
  }
  return item;
}

value without_case(workspace& space, const value& one) {
  if (!one.is_string()) {
    return one;
  }
  space.spend_bytes(one.as_string().size());
  return space.copy(lower(one.as_string()));
}

} // namespace vdist::text::jinja
