// transport/http/token.hpp — the characters of HTTP's grammar (RFC 9110 5.6). Internal to
// transport/http. The header is all there is.
#pragma once

#include <algorithm>
#include <string_view>

namespace vdist::http {

/// Of methods and of names of headers.
[[nodiscard]] constexpr bool is_token_character(char c) noexcept {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
         || marks.find(c) != std::string_view::npos;
}

/// Of values: no control character but the tab.
[[nodiscard]] constexpr bool is_text(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != '\x7f');
  });
}

[[nodiscard]] constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Equal, whatever the case of `a`.
[[nodiscard]] constexpr bool is_same_word(std::string_view a,
                                          std::string_view lower_case) noexcept {
  return std::equal(a.begin(), a.end(), lower_case.begin(), lower_case.end(), [](char x, char y) {
    return lower(x) == y;
  });
}

} // namespace vdist::http
