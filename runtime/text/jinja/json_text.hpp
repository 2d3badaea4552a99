// runtime/text/jinja/json_text.hpp — values from JSON, and back: the context of a rendering, and tojson.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <nlohmann/json_fwd.hpp>

namespace vdist::text::jinja {

/// Borrows the strings of `json`. Throws template_error for text that is not UTF-8.
[[nodiscard]] value value_of_json(workspace& space, const nlohmann::ordered_json& json);

/// How json.dumps writes.
struct json_layout {
  bool is_ascii = false;
  bool is_sorted = false;
  bool is_indented = false;
  std::string_view indent;
  std::string_view item_separator = ", ";
  std::string_view key_separator = ": ";
};

/// Throws template_error for values that JSON does not have.
void append_json(workspace& space,
                 std::pmr::string& out,
                 const value& one,
                 const json_layout& layout,
                 std::size_t depth = 0);

} // namespace vdist::text::jinja
