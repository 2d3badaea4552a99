// man/roff.hpp — text as roff(7) has to be given it.
#pragma once

#include <string>
#include <string_view>

namespace vdist::man {

/// As roff reads it: a backslash begins an escape, a dot or quote in front a request; a hyphen that users type is a minus.
[[nodiscard]] inline std::string escaped(std::string_view text) {
  std::string made;
  for (const char c : text) {
    if (c == '\\') {
      made += "\\e";
    } else if (c == '-') {
      made += "\\-";
    } else if ((c == '.' || c == '\'') && made.empty()) {
      made += std::string("\\&") + c;
    } else {
      made += c;
    }
  }
  return made;
}

/// The argument of a macro.
[[nodiscard]] inline std::string argument(std::string_view text) {
  std::string made = "\"";
  for (const char c : escaped(text)) {
    made += c == '"' ? std::string("\\(dq") : std::string(1, c);
  }
  return made + '"';
}

} // namespace vdist::man
