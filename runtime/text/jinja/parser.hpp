// runtime/text/jinja/parser.hpp — tokens to a tree, by Jinja's grammar and precedence.
#pragma once

#include "runtime/text/jinja/chat_template.hpp"
#include "runtime/text/jinja/syntax.hpp"

#include <string_view>

namespace vdist::text::jinja {

/// The tree borrows `source` (normalised_source()), which must be well-formed UTF-8. Throws
/// template_error with an offset: errc::corrupt for what is no Jinja, errc::unsupported for what is
/// left out, errc::resource_exhausted beyond nesting_max.
[[nodiscard]] body parse(std::string_view source, const source_limits& limits);

} // namespace vdist::text::jinja
