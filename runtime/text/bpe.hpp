// runtime/text/bpe.hpp — byte pair encoding of one word: the model part of a tokenizer.
// A word starts as one token per character (or per byte, for byte-level vocabularies); then the
// neighbouring pair whose merge has the lowest rank (leftmost among equals) is merged until no pair
// merges. B-1 encode() equals that definition for every word.  B-2 encode() never looks outside the
// word. Cost: most words are one token of the vocabulary that the merges are known to reach (worked
// out at load): one lookup. Short words: a scan per merge. Long words: a heap, O(n log n), so a
// megabyte without a space stays linear in practice. SentencePiece-style models see a whole text as
// one word; where no merge can cross the start of a "▁" word (worked out at load), the text is cut
// there, with the same result. Immutable after build(); encode() is callable from any thread, each
// with its own scratch.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/text/lookup_tables.hpp"

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::text {

/// What the file says about the model.
struct bpe_spec {
  std::vector<std::pair<std::string, token_id>>
      vocabulary; // texts and ids are each unique, ids not negative
  std::vector<std::pair<std::string, std::string>> merges; // in order of rank
  std::optional<std::string> unknown; // stands for characters outside the vocabulary
  bool fuse_unknown = false;          // one unknown token for a run of unknown characters
  bool byte_fallback = false; // unknown characters become <0xNN> tokens where all of them exist
  bool ignore_merges =
      false; // a word that is in the vocabulary is that token, whatever the merges say
};

/// What the words passed to encode() are written in.
enum class word_units : std::uint8_t {
  bytes,      // raw bytes of a byte-level vocabulary; all 256 must be in it
  characters, // UTF-8, matched with the vocabulary as it is written
};

class bpe {
public:
  /// Buffers of one encode() after the other; contents are meaningless between calls.
  struct scratch {
    std::vector<token_id> ids;
    std::vector<pair_merge> merges; // merges[i]: of ids[i] and the token behind it
    std::vector<std::int32_t> previous;
    std::vector<std::int32_t> next;
    std::vector<std::uint64_t> heap; // rank << 32 | position
  };

  /// errc::corrupt when a merge names a token outside the vocabulary or an unknown token is
  /// missing.
  [[nodiscard]] static result<bpe> build(const bpe_spec& spec, word_units units);

  /// Whether every byte of a byte-level vocabulary has a token, so that word_units::bytes is
  /// possible.
  [[nodiscard]] static bool has_all_bytes(const bpe_spec& spec);

  /// Appends the word's tokens. Words are below 2^31 bytes. Fails where a character has no token
  /// and the unknown token is missing from the vocabulary.
  [[nodiscard]] result<void>
  encode(std::string_view word, scratch& s, std::vector<token_id>& out) const;

private:
  bpe() = default;
  result<void> add_vocabulary(const bpe_spec& spec);
  result<void> add_merges(const bpe_spec& spec);
  void mark_whole_words(const bpe_spec& spec);
  [[nodiscard]] token_id token_of(std::string_view text) const;
  result<void> encode_word(std::string_view word, scratch& s, std::vector<token_id>& out) const;
  result<void> split(std::string_view word, scratch& s) const;
  void split_bytes(std::string_view word, scratch& s) const;
  result<void> split_characters(std::string_view word, scratch& s) const;
  bool append_fallback_bytes(std::string_view character, std::vector<token_id>& ids) const;
  void merge(scratch& s, std::vector<token_id>& out) const;
  void merge_short(scratch& s) const;
  void merge_long(scratch& s, std::vector<token_id>& out) const;

  word_units units_ = word_units::characters;
  piece_table pieces_; // text → id << 1 | (the merges turn the text into this one token)
  pair_table pairs_;
  std::array<token_id, 256>
      byte_tokens_{}; // units bytes: token of each byte; characters: of each ASCII character
  std::array<token_id, 256> fallback_tokens_{}; // <0xNN>, -1 where missing
  token_id unknown_ = -1;
  bool has_unknown_ = false; // the file names an unknown token, though it may be missing
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool can_cut_at_marks_ = false; // no merge crosses from another character to "▁"
};

} // namespace vdist::text
