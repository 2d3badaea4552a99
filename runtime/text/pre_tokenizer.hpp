// runtime/text/pre_tokenizer.hpp — cuts normalized text into the words that the model encodes one
// by one. Steps run in order, each on every piece that the steps before it left. Immutable;
// callable from any thread.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/text/text_pattern.hpp"

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::text {

/// What becomes of the text that a separator matched.
enum class separator_use : std::uint8_t {
  removed,
  isolated,             // a piece of its own
  merged_with_previous, // the end of the piece before it
  merged_with_next,     // the start of the piece behind it
  contiguous,           // neighbouring separators are one piece
};

/// Separators are the matches of a pattern; with `is_inverted` the text between them.
struct split_step {
  text_pattern pattern;
  separator_use use = separator_use::isolated;
  bool is_inverted = false;
};

/// Separators are the characters of a class, each by itself.
struct character_split_step {
  bool (*is_separator)(char32_t) noexcept = nullptr;
  separator_use use = separator_use::isolated;
};

/// Runs of word characters, and runs of what is neither word nor white space; white space is
/// dropped.
struct word_split_step {};

/// Optionally a leading space and GPT-2's split, then bytes are written as the characters of
/// byte_level.hpp.
struct byte_level_step {
  bool add_prefix_space = false;
  bool use_regex = true;
};

/// Spaces become `replacement`, which is put in front of the text as `prepend` says.
struct metaspace_step {
  enum class prepend_scheme : std::uint8_t { never, first, always };
  std::string replacement; // one character
  prepend_scheme prepend = prepend_scheme::always;
  bool split = true; // a new piece at each replacement character
};

using pre_tokenizer_step = std::
    variant<split_step, character_split_step, word_split_step, byte_level_step, metaspace_step>;

/// A word for the model.
struct text_piece {
  std::string_view text; // borrowed from the text that was split or from the buffers
  bool is_start = false; // begins where the whole text begins
};

class pre_tokenizer {
public:
  /// Pieces of one text, and the strings that some of them point into.
  struct buffers {
    std::vector<text_piece> pieces; // the result of split()
    std::vector<text_piece> previous;
    std::deque<std::string> owned; // a deque: its strings do not move
    std::vector<text_span> spans;
  };

  pre_tokenizer() = default;
  /// errc::unsupported when a built-in pattern cannot be compiled.
  [[nodiscard]] static result<pre_tokenizer> build(std::vector<pre_tokenizer_step> steps);

  /// Whether the last step is ByteLevel: its mapping can then be left to the model (leave_bytes()).
  [[nodiscard]] bool ends_in_byte_level() const noexcept;

  /// Pieces leave the last ByteLevel step as raw bytes.
  void leave_bytes() noexcept { leave_bytes_ = true; }

  /// `is_start`: the text begins where the whole text begins. `utf8` must outlive the use of
  /// b.pieces.
  [[nodiscard]] result<void> split(std::string_view utf8, bool is_start, buffers& b) const;

private:
  result<void> apply(const split_step& step, const text_piece& piece, buffers& b) const;
  result<void> apply(const character_split_step& step, const text_piece& piece, buffers& b) const;
  result<void> apply(const word_split_step& step, const text_piece& piece, buffers& b) const;
  result<void> apply(const byte_level_step& step, const text_piece& piece, buffers& b) const;
  result<void> apply(const metaspace_step& step, const text_piece& piece, buffers& b) const;

  std::vector<pre_tokenizer_step> steps_;
  std::vector<text_pattern> byte_level_pattern_; // GPT-2's split, present when a step uses it
  bool leave_bytes_ = false;
};

} // namespace vdist::text
