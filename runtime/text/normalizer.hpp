// runtime/text/normalizer.hpp — the rewriting of text before it is cut into words.
// Steps run in order; a Sequence of the file arrives here flattened. Immutable; callable from any
// thread.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/text/text_pattern.hpp"
#include "runtime/text/unicode.hpp"

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::text {

struct normal_form_step {
  normal_form form = normal_form::nfc;
};

struct lower_case_step {};

struct replace_step {
  text_pattern pattern;
  std::string content;
};

/// Puts `text` in front of texts that are not empty.
struct prepend_step {
  std::string text;
};

/// Removes white space from the ends.
struct strip_step {
  bool left = true;
  bool right = true;
};

/// Removes combining marks.
struct strip_accents_step {};

using normalizer_step = std::variant<normal_form_step,
                                     lower_case_step,
                                     replace_step,
                                     prepend_step,
                                     strip_step,
                                     strip_accents_step>;

class normalizer {
public:
  normalizer() = default;

  explicit normalizer(std::vector<normalizer_step> steps) : steps_(std::move(steps)) {}

  /// Whether apply() returns every text unchanged, so that callers need no copy.
  [[nodiscard]] bool is_identity() const noexcept { return steps_.empty(); }

  /// Fails only where a regular expression exceeds its limits.
  [[nodiscard]] result<std::string> apply(std::string_view utf8) const;

private:
  std::vector<normalizer_step> steps_;
};

} // namespace vdist::text
