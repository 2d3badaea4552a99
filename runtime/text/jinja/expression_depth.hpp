// runtime/text/jinja/expression_depth.hpp — how deep expressions nest; 0 for none. Private to the parser.
#pragma once

#include "runtime/text/jinja/syntax.hpp"

#include <algorithm>

namespace vdist::text::jinja {

inline std::uint32_t depth_of(const expression_ptr& one) {
  return one ? one->depth : 0;
}

inline std::uint32_t depth_of(const expressions& several) {
  std::uint32_t deepest = 0;
  for (const auto& one : several) {
    deepest = std::max(deepest, depth_of(one));
  }
  return deepest;
}

inline std::uint32_t depth_of(const argument_list& arguments) {
  auto deepest = std::max(
      {depth_of(arguments.positional), depth_of(arguments.rest), depth_of(arguments.named_rest)});
  for (const auto& [name, given] : arguments.named) {
    deepest = std::max(deepest, depth_of(given));
  }
  return deepest;
}

} // namespace vdist::text::jinja
