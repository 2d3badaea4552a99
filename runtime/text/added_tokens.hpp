// runtime/text/added_tokens.hpp — finds the tokens that are recognised in the text before the model
// sees it. Matching is leftmost-longest and not overlapping; lstrip and rstrip let a match swallow
// the white space around it, single_word refuses a match inside a word. Immutable after
// construction; callable from any thread. Cost: one table look-up per byte of text outside of
// matches, at most the longest token's length where one may start.
#pragma once

#include "runtime/base/ids.hpp"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

struct added_token {
  std::string content; // not empty
  token_id id = 0;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false; // looked for in the normalized text instead of the text as it came
  bool special = false;

  bool operator==(const added_token&) const = default;
};

/// A part of a text: either one added token, or text for the model.
struct text_fragment {
  std::string_view text; // borrowed from the text that was split
  token_id token = -1;   // -1: text
};

class added_token_matcher {
public:
  added_token_matcher() = default;
  /// Where two tokens have the same content the first is found.
  explicit added_token_matcher(std::vector<added_token> tokens);

  [[nodiscard]] bool is_empty() const noexcept { return tokens_.empty(); }

  /// Appends the fragments of `utf8` in order; fragments of text are never empty.
  void split(std::string_view utf8, std::vector<text_fragment>& out) const;

private:
  struct node {
    std::int32_t first_child = -1;
    std::int32_t next_sibling = -1;
    std::int32_t token = -1; // index into tokens_
    char byte = 0;
  };

  void insert(std::int32_t token);
  [[nodiscard]] std::int32_t child_of(std::int32_t parent, char byte) const;
  /// Index of the longest token that starts at `at`, or -1.
  [[nodiscard]] std::int32_t longest_at(std::string_view utf8, std::size_t at) const;

  std::vector<added_token> tokens_;
  std::vector<node> nodes_; // a trie; roots_ holds its first level
  std::array<std::int32_t, 256> roots_{};
};

} // namespace vdist::text
