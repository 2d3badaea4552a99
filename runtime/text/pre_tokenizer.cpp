#include "runtime/text/pre_tokenizer.hpp"

#include "runtime/text/byte_level.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>

namespace vdist::text {
namespace {

constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void put_piece(const text_piece& from,
               std::size_t begin,
               std::size_t end,
               std::vector<text_piece>& out) {
  if (begin < end) {
    out.push_back({from.text.substr(begin, end - begin), from.is_start && begin == 0});
  }
}

/// Separators and the text between them, in order, cut as `use` says. Feed with add(), then
/// finish().
class piece_cutter {
public:
  piece_cutter(const text_piece& piece, separator_use use, std::vector<text_piece>& out)
      : piece_(piece), use_(use), out_(out) {}

  void add(std::size_t begin, std::size_t end, bool is_separator) {
    switch (use_) {
    case separator_use::removed:
      if (!is_separator) {
        put_piece(piece_, begin, end, out_);
      }
      return;
    case separator_use::isolated:
      put_piece(piece_, begin, end, out_);
      return;
    case separator_use::contiguous:
      extend_or_start(begin, end, is_separator == was_separator_);
      break;
    case separator_use::merged_with_previous:
      extend_or_start(begin, end, is_separator && !was_separator_);
      break;
    case separator_use::merged_with_next:
      // Text joins the separator before it; a separator always starts a piece.
      extend_or_start(begin, end, !is_separator && was_separator_);
      break;
    }
    was_separator_ = is_separator;
  }

  void finish() {
    if (has_open_) {
      put_piece(piece_, begin_, end_, out_);
    }
  }

private:
  void extend_or_start(std::size_t begin, std::size_t end, bool extends) {
    if (extends && has_open_) {
      end_ = end;
      return;
    }
    finish();
    has_open_ = true;
    begin_ = begin;
    end_ = end;
  }

  text_piece piece_;
  separator_use use_;
  std::vector<text_piece>& out_;
  std::size_t begin_ = 0; // the piece that may still grow
  std::size_t end_ = 0;
  bool has_open_ = false;
  bool was_separator_ = false;
};

} // namespace

result<pre_tokenizer> pre_tokenizer::build(std::vector<pre_tokenizer_step> steps) {
  pre_tokenizer made;
  made.steps_ = std::move(steps);
  const bool needs_pattern =
      std::any_of(made.steps_.begin(), made.steps_.end(), [](const auto& step) {
        const auto* byte_level = std::get_if<byte_level_step>(&step);
        return byte_level != nullptr && byte_level->use_regex;
      });
  if (needs_pattern) {
    VDIST_ASSIGN(text_pattern pattern, text_pattern::regex(gpt2_pattern));
    made.byte_level_pattern_.push_back(std::move(pattern));
  }
  return made;
}

bool pre_tokenizer::ends_in_byte_level() const noexcept {
  return !steps_.empty() && std::holds_alternative<byte_level_step>(steps_.back());
}

result<void> pre_tokenizer::split(std::string_view utf8, bool is_start, buffers& b) const {
  b.owned.clear();
  b.pieces.clear();
  if (!utf8.empty()) {
    b.pieces.push_back({utf8, is_start});
  }
  for (const pre_tokenizer_step& step : steps_) {
    b.previous.swap(b.pieces);
    b.pieces.clear();
    for (const text_piece& piece : b.previous) {
      VDIST_TRY(std::visit([this, &piece, &b](const auto& s) { return apply(s, piece, b); }, step));
    }
  }
  return {};
}

result<void>
pre_tokenizer::apply(const split_step& step, const text_piece& piece, buffers& b) const {
  b.spans.clear();
  VDIST_TRY(step.pattern.find_all(piece.text, b.spans));
  piece_cutter cutter(piece, step.use, b.pieces);
  std::size_t done = 0;
  for (const text_span& span : b.spans) {
    if (done != span.begin) {
      cutter.add(done, span.begin, step.is_inverted);
    }
    cutter.add(span.begin, span.end, !step.is_inverted);
    done = span.end;
  }
  if (done != piece.text.size()) {
    cutter.add(done, piece.text.size(), step.is_inverted);
  }
  cutter.finish();
  return {};
}

result<void>
pre_tokenizer::apply(const character_split_step& step, const text_piece& piece, buffers& b) const {
  piece_cutter cutter(piece, step.use, b.pieces);
  std::size_t done = 0;
  for (std::size_t at = 0; at < piece.text.size();) {
    const code_point c = code_point_at(piece.text, at);
    const std::size_t behind = at + c.bytes;
    if (step.is_separator(c.value)) {
      if (done < at) {
        cutter.add(done, at, false);
      }
      cutter.add(at, behind, true);
      done = behind;
    }
    at = behind;
  }
  if (done < piece.text.size()) {
    cutter.add(done, piece.text.size(), false);
  }
  cutter.finish();
  return {};
}

result<void>
pre_tokenizer::apply(const word_split_step&, const text_piece& piece, buffers& b) const {
  enum class kind : std::uint8_t { space, word, other };
  std::size_t begin = 0;
  kind current = kind::space;
  for (std::size_t at = 0; at < piece.text.size();) {
    const code_point c = code_point_at(piece.text, at);
    const kind next = is_word_character(c.value) ? kind::word
                      : is_white_space(c.value)  ? kind::space
                                                 : kind::other;
    if (next != current) {
      if (current != kind::space) {
        put_piece(piece, begin, at, b.pieces);
      }
      begin = at;
      current = next;
    }
    at += c.bytes;
  }
  if (current != kind::space) {
    put_piece(piece, begin, piece.text.size(), b.pieces);
  }
  return {};
}

result<void>
pre_tokenizer::apply(const byte_level_step& step, const text_piece& piece, buffers& b) const {
  text_piece whole = piece;
  if (step.add_prefix_space && !whole.text.starts_with(' ')) {
    whole.text = b.owned.emplace_back(" ").append(whole.text);
  }
  const std::size_t first = b.pieces.size();
  if (step.use_regex) {
    b.spans.clear();
    VDIST_TRY(byte_level_pattern_.front().find_all(whole.text, b.spans));
    std::size_t done = 0;
    for (const text_span& span : b.spans) {
      put_piece(whole, done, span.begin, b.pieces);
      put_piece(whole, span.begin, span.end, b.pieces);
      done = span.end;
    }
    put_piece(whole, done, whole.text.size(), b.pieces);
  } else {
    b.pieces.push_back(whole);
  }
  if (leave_bytes_ && &step == std::get_if<byte_level_step>(&steps_.back())) {
    return {};
  }
  for (std::size_t i = first; i < b.pieces.size(); ++i) {
    b.pieces[i].text = b.owned.emplace_back(to_byte_level(b.pieces[i].text));
  }
  return {};
}

result<void>
pre_tokenizer::apply(const metaspace_step& step, const text_piece& piece, buffers& b) const {
  using scheme = metaspace_step::prepend_scheme;
  std::string& text = b.owned.emplace_back();
  text.reserve(piece.text.size() + piece.text.size() / 4);
  const bool has_mark = piece.text.starts_with(step.replacement) || piece.text.starts_with(' ');
  if (!has_mark
      && (step.prepend == scheme::always || (step.prepend == scheme::first && piece.is_start))) {
    text += step.replacement;
  }
  for (const char c : piece.text) {
    if (c == ' ') {
      text += step.replacement;
    } else {
      text.push_back(c);
    }
  }
  const text_piece whole{text, piece.is_start};
  if (!step.split) {
    b.pieces.push_back(whole);
    return {};
  }
  std::size_t begin = 0;
  for (std::size_t at = text.find(step.replacement); at != std::string::npos;
       at = text.find(step.replacement, at + step.replacement.size())) {
    put_piece(whole, begin, at, b.pieces);
    begin = at;
  }
  put_piece(whole, begin, text.size(), b.pieces);
  return {};
}

} // namespace vdist::text
