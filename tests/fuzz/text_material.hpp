// tests/fuzz/text_material.hpp — texts as specimens whose units are their words and the marks between them.
#pragma once

#include "tests/fuzz/mutation.hpp"

namespace vdist::testing::fuzz {

inline specimen text_specimen(std::string_view text) {
  const auto is_of_word = [](char letter) {
    return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') || letter == '_';
  };
  specimen made;
  while (!text.empty()) {
    std::size_t length = 1;
    while (length < text.size() && is_of_word(text[0]) && is_of_word(text[length])) {
      ++length;
    }
    made.units.push_back(bytes_of(text.substr(0, length)));
    text.remove_prefix(length);
  }
  return made;
}

inline std::vector<bytes> text_pieces(std::span<const std::string_view> texts) {
  std::vector<bytes> pieces;
  for (const auto text : texts) {
    pieces.push_back(bytes_of(text));
  }
  return pieces;
}

/// What JSON is made of, and what it is broken with; and the words of one format.
inline std::vector<bytes> json_pieces(std::span<const std::string_view> words) {
  constexpr std::string_view marks[] = {
      "{",           "}",     "[",       "]",           "\"",
      ":",           ",",     "null",    "-1",          "-0.0",
      "1e999",       "1e300", "0.1",     "99999999999", "18446744073709551616",
      "true",        "\xff",  "\\u0000", "\\ud800",     "\\u00e9",
      "\x01",        "{}",    "[]",      "\"\"",        "[[[[[",
      "\xed\xa0\x80"};
  auto pieces = text_pieces(marks);
  const auto more = text_pieces(words);
  pieces.insert(pieces.end(), more.begin(), more.end());
  return pieces;
}

inline material text_material(std::span<const std::string> texts,
                              std::span<const std::string_view> pieces) {
  material from{.specimens = {}, .pieces = text_pieces(pieces)};
  for (const auto& text : texts) {
    from.specimens.push_back(text_specimen(text));
  }
  return from;
}

/// M-1.
inline std::string text_input(const material& from, int seed) {
  return std::string(text_of(input_of(from, static_cast<std::uint64_t>(seed))));
}

} // namespace vdist::testing::fuzz
