// runtime/text/jinja/string_escapes.hpp — the characters that a string literal of a template stands for.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

/// Python's unicode-escape: \n \t … \xhh \uhhhh \Uhhhhhhhh, octal, a backslash before a line break
/// joins the lines; other backslashes stay. `offset` is where `literal` stands in the source, for
/// errors. Throws template_error for escapes that are cut short, surrogates, and \N{…}.
[[nodiscard]] std::string unescaped(std::string_view literal, std::size_t offset);

} // namespace vdist::text::jinja
