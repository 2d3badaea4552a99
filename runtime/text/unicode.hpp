// runtime/text/unicode.hpp — UTF-8 and the Unicode properties and normal forms that tokenizers
// need. The tables are ICU's (libicu-dev); no ICU type appears here. All functions are pure and
// callable from any thread. Functions that take `utf8` expect well-formed UTF-8: check with
// find_invalid_utf8() at the edge, once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vdist::text {

/// What stands for bytes that are no character: U+FFFD.
inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

/// Byte offset of the first sequence that is not well-formed UTF-8; npos when there is none.
[[nodiscard]] std::size_t find_invalid_utf8(std::string_view bytes) noexcept;

/// A character and the number of bytes that it takes.
struct code_point {
  char32_t value = 0;
  std::uint32_t bytes = 0;
};

/// The character that starts at byte `at`; `at` must be a character boundary inside `utf8`.
[[nodiscard]] inline code_point code_point_at(std::string_view utf8, std::size_t at) noexcept {
  const auto byte = [utf8, at](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(utf8[at + i]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) {
    return {first, 1};
  }
  if (first < 0xE0) {
    return {((first & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  }
  if (first < 0xF0) {
    return {((first & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  }
  return {((first & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6)
              | (byte(3) & 0x3F),
          4};
}

/// Byte offset of the character that ends at byte `end` (end > 0).
[[nodiscard]] inline std::size_t code_point_before(std::string_view utf8,
                                                   std::size_t end) noexcept {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(utf8[end]) & 0xC0) == 0x80);
  return end;
}

/// Appends one character; `c` must be a Unicode scalar value.
void append_utf8(std::string& out, char32_t c);

[[nodiscard]] bool is_white_space(char32_t c) noexcept;    // property White_Space
[[nodiscard]] bool is_number(char32_t c) noexcept;         // categories Nd, Nl, No
[[nodiscard]] bool is_punctuation(char32_t c) noexcept;    // categories P*, and the ASCII symbols
[[nodiscard]] bool is_mark(char32_t c) noexcept;           // categories Mn, Mc, Me
[[nodiscard]] bool is_word_character(char32_t c) noexcept; // \w of UTS 18

enum class normal_form : std::uint8_t { nfc, nfd, nfkc, nfkd };

[[nodiscard]] std::string normalise(normal_form form, std::string_view utf8);
/// Each character's own full lower case, whatever stands around it (no final-sigma rule).
[[nodiscard]] std::string lower_case(std::string_view utf8);

/// What one U+FFFD stands for where bytes are not UTF-8.
enum class invalid_bytes : std::uint8_t {
  one_per_sequence, // the longest start of a character that then breaks off
  one_per_byte,
};

/// Builds characters from bytes that arrive in any portions; never emits part of a character.
/// Holds at most three bytes. The concatenated output does not depend on how the bytes were cut.
class utf8_assembler {
public:
  explicit utf8_assembler(invalid_bytes policy) : policy_(policy) {}

  void push(std::string_view bytes, std::string& out);
  /// The end of the input: what is held cannot become a character any more.
  void flush(std::string& out);

private:
  void push_byte(unsigned char byte, std::string& out);
  [[nodiscard]] bool continues(unsigned char byte) const noexcept;

  invalid_bytes policy_;
  unsigned char held_[4] = {};
  std::uint32_t held_count_ = 0; // < 4
  std::uint32_t length_ = 0;     // bytes of the character that held_[0] starts
};

} // namespace vdist::text
