#include "runtime/text/jinja/characters.hpp"

#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <cstring>
#include <unicode/ucasemap.h>
#include <unicode/uchar.h>

namespace vdist::text::jinja {
namespace {

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

UChar32 icu(char32_t c) {
  return static_cast<UChar32>(c);
}

bool is_alphabetic(char32_t c) {
  constexpr std::uint32_t letters =
      U_GC_LU_MASK | U_GC_LL_MASK | U_GC_LT_MASK | U_GC_LM_MASK | U_GC_LO_MASK;
  return (U_GET_GC_MASK(icu(c)) & letters) != 0;
}

UNumericType numeric_type(char32_t c) {
  return static_cast<UNumericType>(u_getIntPropertyValue(icu(c), UCHAR_NUMERIC_TYPE));
}

bool is_digit(char32_t c) {
  const auto type = numeric_type(c);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}

bool is_lower(char32_t c) {
  return u_hasBinaryProperty(icu(c), UCHAR_LOWERCASE) != 0;
}

bool is_upper(char32_t c) {
  return u_hasBinaryProperty(icu(c), UCHAR_UPPERCASE) != 0;
}

bool is_title(char32_t c) {
  return u_charType(icu(c)) == U_TITLECASE_LETTER;
}

bool is_cased(char32_t c) {
  return is_lower(c) || is_upper(c) || is_title(c);
}

/// ICU's mapping for no language in particular. The map is immutable and shared by all threads.
const UCaseMap* case_map() {
  static const UCaseMap* const map = [] {
    UErrorCode code = U_ZERO_ERROR;
    return ucasemap_open("", U_FOLD_CASE_DEFAULT, &code);
  }();
  return map;
}

template <class Map>
std::string mapped(std::string_view utf8, Map&& map) {
  // No mapping makes a text more than three times as long.
  std::string made(3 * utf8.size(), '\0');
  UErrorCode code = U_ZERO_ERROR;
  const auto bytes = map(made.data(),
                         static_cast<std::int32_t>(made.size()),
                         utf8.data(),
                         static_cast<std::int32_t>(utf8.size()),
                         &code);
  made.resize(U_SUCCESS(code) != 0 ? static_cast<std::size_t>(bytes) : 0);
  return made;
}

std::string title_of_character(std::string_view one) {
  char32_t c = code_point_at(one, 0).value;
  // ICU's title casing skips what is no letter; simple characters need no table.
  if (c < 0x80) {
    return upper(one);
  }
  const std::string full = upper(one);
  std::string made;
  const char32_t simple = static_cast<char32_t>(u_totitle(icu(c)));
  if (simple != c || full == one) {
    append_utf8(made, simple);
    return made;
  }
  // Only a full mapping (ß → Ss, ﬁ → Fi): its first character is upper, the others lower.
  const auto first = code_point_at(full, 0).bytes;
  return full.substr(0, first) + lower(std::string_view(full).substr(first));
}

template <class Predicate>
bool all_of_characters(std::string_view utf8, Predicate&& is_one) {
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    if (!is_one(c.value)) {
      return false;
    }
    at += c.bytes;
  }
  return !utf8.empty();
}

bool is_title_text(std::string_view utf8) {
  bool was_cased = false;
  bool has_cased = false;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    at += c.bytes;
    if (is_upper(c.value) || is_title(c.value)) {
      if (was_cased) {
        return false;
      }
      was_cased = has_cased = true;
    } else if (is_lower(c.value)) {
      if (!was_cased) {
        return false;
      }
      has_cased = true;
    } else {
      was_cased = false;
    }
  }
  return has_cased;
}

/// Whether cased characters are all of one case, and there is one.
template <class Predicate>
bool is_of_case(std::string_view utf8, Predicate&& is_one) {
  bool has_cased = false;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    at += c.bytes;
    if (is_cased(c.value)) {
      if (!is_one(c.value)) {
        return false;
      }
      has_cased = true;
    }
  }
  return has_cased;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028
         || c == 0x2029;
}

bool contains_character(std::string_view set, std::string_view one) {
  for (std::size_t at = 0; at < set.size();) {
    const auto bytes = code_point_at(set, at).bytes;
    if (set.substr(at, bytes) == one) {
      return true;
    }
    at += bytes;
  }
  return false;
}

} // namespace

bool is_python_space(char32_t c) noexcept {
  if (c < 0x80) {
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  }
  return is_white_space(c);
}

bool is_printable(char32_t c) noexcept {
  if (c < 0x7F) {
    return c >= 0x20;
  }
  constexpr std::uint32_t hidden = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(icu(c)) & hidden) == 0;
}

bool is_name_start(char32_t c) noexcept {
  return c == '_' || is_alphabetic(c) || u_charType(icu(c)) == U_LETTER_NUMBER;
}

bool is_name_part(char32_t c) noexcept {
  return c == '_' || is_alphabetic(c) || numeric_type(c) != U_NT_NONE;
}

bool is_ascii(std::string_view utf8) noexcept {
  return std::all_of(
      utf8.begin(), utf8.end(), [](char byte) { return static_cast<unsigned char>(byte) < 0x80; });
}

std::size_t count_characters(std::string_view utf8) noexcept {
  return utf8.size()
         - static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), is_continuation));
}

std::size_t offset_of_character(std::string_view utf8, std::size_t index) noexcept {
  if (index >= utf8.size()) {
    return utf8.size();
  }
  std::size_t at = 0;
  for (; index > 0 && at < utf8.size(); --index) {
    at += code_point_at(utf8, at).bytes;
  }
  return at;
}

std::string_view strip_left(std::string_view utf8) noexcept {
  while (!utf8.empty()) {
    const auto c = code_point_at(utf8, 0);
    if (!is_python_space(c.value)) {
      break;
    }
    utf8.remove_prefix(c.bytes);
  }
  return utf8;
}

std::string_view strip_right(std::string_view utf8) noexcept {
  while (!utf8.empty()) {
    const auto last = code_point_before(utf8, utf8.size());
    if (!is_python_space(code_point_at(utf8, last).value)) {
      break;
    }
    utf8 = utf8.substr(0, last);
  }
  return utf8;
}

std::string_view strip_left(std::string_view utf8, std::string_view set) noexcept {
  while (!utf8.empty()) {
    const auto bytes = code_point_at(utf8, 0).bytes;
    if (!contains_character(set, utf8.substr(0, bytes))) {
      break;
    }
    utf8.remove_prefix(bytes);
  }
  return utf8;
}

std::string_view strip_right(std::string_view utf8, std::string_view set) noexcept {
  while (!utf8.empty()) {
    const auto last = code_point_before(utf8, utf8.size());
    if (!contains_character(set, utf8.substr(last))) {
      break;
    }
    utf8 = utf8.substr(0, last);
  }
  return utf8;
}

std::size_t find_text(std::string_view utf8, std::string_view part, std::size_t from) noexcept {
  if (from > utf8.size()) {
    return std::string_view::npos;
  }
  // std::string_view::find is quadratic for periodic texts; the C library's search is not.
  const auto rest = utf8.substr(from);
  const void* found = memmem(rest.data(), rest.size(), part.data(), part.size());
  if (part.empty()) {
    return from;
  }
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - utf8.data());
}

std::size_t find_last_text(std::string_view utf8, std::string_view part) {
  const std::string back(utf8.rbegin(), utf8.rend());
  const std::string back_part(part.rbegin(), part.rend());
  const auto found = find_text(back, back_part);
  return found == std::string_view::npos ? found : utf8.size() - found - part.size();
}

std::string upper(std::string_view utf8) {
  if (is_ascii(utf8)) {
    std::string made(utf8);
    std::transform(made.begin(), made.end(), made.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 0x20) : c;
    });
    return made;
  }
  return mapped(
      utf8,
      [](char* to, std::int32_t room, const char* from, std::int32_t bytes, UErrorCode* code) {
        return ucasemap_utf8ToUpper(case_map(), to, room, from, bytes, code);
      });
}

std::string lower(std::string_view utf8) {
  if (is_ascii(utf8)) {
    std::string made(utf8);
    std::transform(made.begin(), made.end(), made.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 0x20) : c;
    });
    return made;
  }
  return mapped(
      utf8,
      [](char* to, std::int32_t room, const char* from, std::int32_t bytes, UErrorCode* code) {
        return ucasemap_utf8ToLower(case_map(), to, room, from, bytes, code);
      });
}

std::string fold_case(std::string_view utf8) {
  return mapped(
      utf8,
      [](char* to, std::int32_t room, const char* from, std::int32_t bytes, UErrorCode* code) {
        return ucasemap_utf8FoldCase(case_map(), to, room, from, bytes, code);
      });
}

std::string swap_case(std::string_view utf8) {
  std::string made;
  made.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const auto one = utf8.substr(at, c.bytes);
    made += is_upper(c.value) ? lower(one) : is_lower(c.value) ? upper(one) : std::string(one);
    at += c.bytes;
  }
  return made;
}

std::string capitalise(std::string_view utf8) {
  if (utf8.empty()) {
    return {};
  }
  const auto first = code_point_at(utf8, 0).bytes;
  return title_of_character(utf8.substr(0, first)) + lower(utf8.substr(first));
}

std::string title(std::string_view utf8) {
  std::string made;
  made.reserve(utf8.size());
  bool was_cased = false;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const auto one = utf8.substr(at, c.bytes);
    made += was_cased ? lower(one) : title_of_character(one);
    was_cased = is_cased(c.value);
    at += c.bytes;
  }
  return made;
}

bool is_all(character_class what, std::string_view utf8) {
  switch (what) {
  case character_class::alphabetic:
    return all_of_characters(utf8, is_alphabetic);
  case character_class::alphanumeric:
    return all_of_characters(
        utf8, [](char32_t c) { return is_alphabetic(c) || numeric_type(c) != U_NT_NONE; });
  case character_class::decimal:
    return all_of_characters(utf8, [](char32_t c) { return numeric_type(c) == U_NT_DECIMAL; });
  case character_class::digit:
    return all_of_characters(utf8, is_digit);
  case character_class::numeric:
    return all_of_characters(utf8, [](char32_t c) { return numeric_type(c) != U_NT_NONE; });
  case character_class::space:
    return all_of_characters(utf8, is_python_space);
  case character_class::printable:
    return utf8.empty() || all_of_characters(utf8, is_printable);
  case character_class::lower:
    return is_of_case(utf8, is_lower);
  case character_class::upper:
    return is_of_case(utf8, is_upper);
  case character_class::title:
    return is_title_text(utf8);
  case character_class::identifier:
    return !utf8.empty() && is_name_start(code_point_at(utf8, 0).value)
           && all_of_characters(utf8, [](char32_t c) {
                return c == '_' || u_hasBinaryProperty(icu(c), UCHAR_XID_CONTINUE) != 0;
              });
  }
  return false;
}

std::vector<std::string_view> split_lines(std::string_view utf8, line_ends ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    const auto line = at;
    at += c.bytes;
    if (!is_line_end(c.value)) {
      continue;
    }
    if (c.value == '\r' && at < utf8.size() && utf8[at] == '\n') {
      ++at;
    }
    lines.push_back(utf8.substr(begin, (ends == line_ends::kept ? at : line) - begin));
    begin = at;
  }
  if (begin < utf8.size()) {
    lines.push_back(utf8.substr(begin));
  }
  return lines;
}

} // namespace vdist::text::jinja
