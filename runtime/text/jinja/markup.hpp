// runtime/text/jinja/markup.hpp — HTML in strings, as MarkupSafe keeps it apart. Chat templates run
// without autoescape; `safe` and `escape` are all that makes such strings.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <string_view>

namespace vdist::text::jinja {

/// & < > " ' as references. What is HTML already stays; the result is.
[[nodiscard]] value escaped(workspace& space, const value& one);
/// a + b where one of them is HTML: the other one is escaped.
[[nodiscard]] value joined_markup(workspace& space, const value& a, const value& b);

} // namespace vdist::text::jinja
