// runtime/text/text_pattern.hpp — a literal string or a regular expression, as tokenizer files
// write them. Files are written for Oniguruma (Ruby syntax); we match with PCRE2 (JIT, UTF, UCP)
// after rewriting the few escapes that mean something else there: \s \S \w \W \h \H \uHHHH. Class
// intersections (&&) and nested classes are refused. Immutable; copies share the compiled code;
// find_all() is callable from any thread. Bounds: match steps and heap per match are limited, so
// that no pattern of a file can hang or exhaust the process.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

/// Half-open range of byte offsets.
struct text_span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

class text_pattern {
public:
  /// Matches the string itself. The empty string matches nowhere.
  [[nodiscard]] static text_pattern literal(std::string text);
  /// errc::unsupported when PCRE2 cannot express the pattern.
  [[nodiscard]] static result<text_pattern> regex(std::string_view pattern);

  /// Appends all matches, left to right, not overlapping. `utf8` is well-formed, below 4 GiB.
  /// An empty match right behind the match before it is skipped.
  [[nodiscard]] result<void> find_all(std::string_view utf8, std::vector<text_span>& matches) const;

  /// Copies `utf8` with every match replaced by `content`.
  [[nodiscard]] result<std::string> replace_all(std::string_view utf8,
                                                std::string_view content) const;

  [[nodiscard]] bool is_literal() const noexcept { return code_ == nullptr; }

  /// The literal text; empty for a regular expression.
  [[nodiscard]] const std::string& literal_text() const noexcept { return literal_; }

private:
  struct compiled; // owns the pcre2_code
  text_pattern() = default;

  std::string literal_;
  std::shared_ptr<const compiled> code_; // shared by the copies of this pattern; null for a literal
};

} // namespace vdist::text
