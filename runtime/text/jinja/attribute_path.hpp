// runtime/text/jinja/attribute_path.hpp — the `attribute` argument of filters: "a.b.0", a number, or
// nothing for the item itself.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <optional>

namespace vdist::text::jinja {

/// Trivially destructible, so that lazy iterators may keep it.
class attribute_path {
public:
  /// `attribute` is None, a string or a number.
  attribute_path(workspace& space, const value& attribute);

  /// What `item` has there. Where a part is undefined, `fallback` takes its place if there is one.
  [[nodiscard]] value
  walk(workspace& space, value item, const std::optional<value>& fallback = {}) const;

private:
  const list* parts_;
};

/// A string in lower case; other values as they are.
[[nodiscard]] value without_case(workspace& space, const value& one);

} // namespace vdist::text::jinja
