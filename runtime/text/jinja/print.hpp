// runtime/text/jinja/print.hpp — values as text: Python's str() and repr().
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <string>
#include <string_view>

namespace vdist::text::jinja {

/// str(x)
[[nodiscard]] value str_of(workspace& space, const value& one);
void append_str(workspace& space, std::pmr::string& out, const value& one);
/// repr(x)
void append_repr(workspace& space, std::pmr::string& out, const value& one);
void append_quoted(std::pmr::string& out, std::string_view utf8);

} // namespace vdist::text::jinja
