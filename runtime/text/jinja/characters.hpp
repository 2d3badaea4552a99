// runtime/text/jinja/characters.hpp — strings as Python sees them: sequences of code points, with
// Python's idea of white space, letters and case. All functions expect and return well-formed UTF-8
// and cost time in proportion to the bytes, unless it is said otherwise. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text::jinja {

[[nodiscard]] bool is_python_space(char32_t c) noexcept; // str.isspace
[[nodiscard]] bool is_printable(char32_t c) noexcept;    // str.isprintable
[[nodiscard]] bool is_name_start(char32_t c) noexcept;
[[nodiscard]] bool is_name_part(char32_t c) noexcept; // \w of Python's re

[[nodiscard]] bool is_ascii(std::string_view utf8) noexcept;
[[nodiscard]] std::size_t count_characters(std::string_view utf8) noexcept;
/// Byte offset of character `index`; the size when there are fewer.
[[nodiscard]] std::size_t offset_of_character(std::string_view utf8, std::size_t index) noexcept;

[[nodiscard]] std::string_view strip_left(std::string_view utf8) noexcept;
[[nodiscard]] std::string_view strip_right(std::string_view utf8) noexcept;

/// Removes characters of the set from the ends. Costs bytes × size of the set.
[[nodiscard]] std::string_view strip_left(std::string_view utf8, std::string_view set) noexcept;
[[nodiscard]] std::string_view strip_right(std::string_view utf8, std::string_view set) noexcept;

/// Offset of the first occurrence at or behind `from`; npos when there is none. Linear, also for
/// periodic texts.
[[nodiscard]] std::size_t
find_text(std::string_view utf8, std::string_view part, std::size_t from = 0) noexcept;
/// Offset of the last occurrence; linear.
[[nodiscard]] std::size_t find_last_text(std::string_view utf8, std::string_view part);

[[nodiscard]] std::string upper(std::string_view utf8);
[[nodiscard]] std::string lower(std::string_view utf8);
[[nodiscard]] std::string fold_case(std::string_view utf8);
[[nodiscard]] std::string swap_case(std::string_view utf8);
[[nodiscard]] std::string capitalise(std::string_view utf8);
[[nodiscard]] std::string title(std::string_view utf8); // str.title

/// The predicates of str; false for "" except where Python says otherwise.
enum class character_class : std::uint8_t {
  alphabetic,
  alphanumeric,
  decimal,
  digit,
  numeric,
  space,
  printable,
  lower,
  upper,
  title,
  identifier,
};

[[nodiscard]] bool is_all(character_class what, std::string_view utf8);

enum class line_ends : std::uint8_t { dropped, kept };

/// str.splitlines
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view utf8, line_ends ends);

} // namespace vdist::text::jinja
