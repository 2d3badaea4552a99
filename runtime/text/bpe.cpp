#include "runtime/text/bpe.hpp"

#include "runtime/text/byte_level.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text {
namespace {

constexpr std::string_view word_mark = "\xE2\x96\x81"; // "▁", SentencePiece's space
constexpr std::size_t short_word_tokens_max = 40;      // up to here a scan per merge beats the heap

std::string byte_token_text(std::uint32_t byte) {
  return fmt::format("<0x{:02X}>", byte);
}

} // namespace

bool bpe::has_all_bytes(const bpe_spec& spec) {
  std::array<bool, 256> seen{};
  for (const auto& [text, id] : spec.vocabulary) {
    if (const auto bytes = text.size() <= 2 ? from_byte_level(text) : std::nullopt;
        bytes && bytes->size() == 1) {
      seen[static_cast<unsigned char>((*bytes)[0])] = true;
    }
  }
  return std::all_of(seen.begin(), seen.end(), [](bool b) { return b; });
}

result<bpe> bpe::build(const bpe_spec& spec, word_units units) {
  bpe model;
  model.units_ = units;
  model.fuse_unknown_ = spec.fuse_unknown;
  model.byte_fallback_ = spec.byte_fallback;
  model.ignore_merges_ = spec.ignore_merges;
  VDIST_TRY(model.add_vocabulary(spec));
  VDIST_TRY(model.add_merges(spec));
  model.mark_whole_words(spec);
  return model;
}

result<void> bpe::add_vocabulary(const bpe_spec& spec) {
  std::size_t bytes = 0;
  for (const auto& [text, id] : spec.vocabulary) {
    bytes += text.size();
  }
  pieces_.reset(spec.vocabulary.size(), bytes);
  byte_tokens_.fill(-1);
  fallback_tokens_.fill(-1);
  for (const auto& [text, id] : spec.vocabulary) {
    const auto value = static_cast<std::uint32_t>(id) << 1;
    if (units_ == word_units::characters) {
      pieces_.insert(text, value);
    } else if (const auto raw = from_byte_level(text)) {
      pieces_.insert(*raw, value);
    }
  }
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (units_ == word_units::bytes || byte < 0x80) {
      byte_tokens_[byte] = token_of({&c, 1});
    }
    if (byte_fallback_ && units_ == word_units::characters) {
      fallback_tokens_[byte] = token_of(byte_token_text(byte));
    }
  }
  if (units_ == word_units::bytes) {
    VDIST_CHECK(std::find(byte_tokens_.begin(), byte_tokens_.end(), -1) == byte_tokens_.end(),
                "bpe: word_units::bytes needs a token for every byte");
  } else if (spec.unknown && !spec.unknown->empty()) {
    has_unknown_ = true;
    unknown_ = token_of(*spec.unknown);
  }
  return {};
}

result<void> bpe::add_merges(const bpe_spec& spec) {
  pairs_.reset(spec.merges.size());
  can_cut_at_marks_ =
      units_ == word_units::characters && !ignore_merges_ && token_of(word_mark) >= 0;
  const auto token = [this](const std::string& text) -> token_id {
    if (units_ == word_units::characters) {
      return token_of(text);
    }
    const auto raw = from_byte_level(text);
    return raw ? token_of(*raw) : -1;
  };
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    const token_id ids[] = {token(left), token(right), token(left + right)};
    if (const auto* missing = std::find(std::begin(ids), std::end(ids), -1);
        missing != std::end(ids)) {
      const std::string texts[] = {left, right, left + right};
      return fail(
          errc::corrupt,
          fmt::format(
              "merge names a token that is not in the vocabulary (key=model.merges[{}], token={})",
              rank,
              texts[missing - std::begin(ids)]));
    }
    pairs_.insert(ids[0], ids[1], {static_cast<std::uint32_t>(rank), ids[2]});
    if (!std::string_view(left).ends_with(word_mark)
        && std::string_view(right).starts_with(word_mark)) {
      can_cut_at_marks_ = false;
    }
  }
  return {};
}

void bpe::mark_whole_words(const bpe_spec& spec) {
  scratch s;
  std::vector<token_id> tokens;
  for (const auto& [text, id] : spec.vocabulary) {
    const auto raw = units_ == word_units::bytes ? from_byte_level(text) : std::optional(text);
    if (!raw || raw->empty()) {
      continue;
    }
    tokens.clear();
    const bool is_whole =
        ignore_merges_ || (encode_word(*raw, s, tokens) && tokens.size() == 1 && tokens[0] == id);
    pieces_.update(*raw, static_cast<std::uint32_t>(id) << 1 | (is_whole ? 1U : 0U));
  }
}

token_id bpe::token_of(std::string_view text) const {
  const std::uint32_t value = pieces_.find(text);
  return value == piece_table::none ? -1 : static_cast<token_id>(value >> 1);
}

result<void> bpe::encode(std::string_view word, scratch& s, std::vector<token_id>& out) const {
  if (!can_cut_at_marks_) {
    return encode_word(word, s, out);
  }
  std::size_t begin = 0;
  std::size_t mark = word.find(word_mark);
  while (mark != std::string_view::npos) {
    const std::size_t behind = mark + word_mark.size();
    if (mark > begin && !word.substr(0, mark).ends_with(word_mark)) {
      VDIST_TRY(encode_word(word.substr(begin, mark - begin), s, out));
      begin = mark;
    }
    mark = word.find(word_mark, behind);
  }
  return encode_word(word.substr(begin), s, out);
}

result<void> bpe::encode_word(std::string_view word, scratch& s, std::vector<token_id>& out) const {
  if (word.empty()) {
    return {};
  }
  if (const std::uint32_t value = pieces_.find(word);
      value != piece_table::none && (value & 1) != 0) {
    out.push_back(static_cast<token_id>(value >> 1));
    return {};
  }
  s.ids.clear();
  VDIST_TRY(split(word, s));
  merge(s, out);
  return {};
}

result<void> bpe::split(std::string_view word, scratch& s) const {
  if (units_ == word_units::characters) {
    return split_characters(word, s);
  }
  split_bytes(word, s);
  return {};
}

void bpe::split_bytes(std::string_view word, scratch& s) const {
  for (const char byte : word) {
    s.ids.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
  }
}

bool bpe::append_fallback_bytes(std::string_view character, std::vector<token_id>& ids) const {
  const std::size_t size_before = ids.size();
  for (const char byte : character) {
    const token_id id = fallback_tokens_[static_cast<unsigned char>(byte)];
    if (id < 0) {
      ids.resize(size_before);
      return false;
    }
    ids.push_back(id);
  }
  return true;
}

result<void> bpe::split_characters(std::string_view word, scratch& s) const {
  // An unknown token waits for the next known character, because a run of them may have to be
  // fused. Fallback bytes do not end the wait: that is how the reference orders them, in
  // vocabularies that have only some of the bytes.
  bool is_unknown_waiting = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::uint32_t bytes = code_point_at(word, at).bytes;
    const std::string_view character = word.substr(at, bytes);
    at += bytes;
    const token_id id =
        bytes == 1 ? byte_tokens_[static_cast<unsigned char>(character[0])] : token_of(character);
    if (id >= 0) {
      if (is_unknown_waiting) {
        s.ids.push_back(unknown_);
        is_unknown_waiting = false;
      }
      s.ids.push_back(id);
      continue;
    }
    if ((byte_fallback_ && append_fallback_bytes(character, s.ids)) || !has_unknown_) {
      continue; // without an unknown token, unknown characters are left out
    }
    if (unknown_ < 0) {
      return fail(errc::corrupt,
                  fmt::format("encode: character has no token and model.unk_token is not in the "
                              "vocabulary (character={})",
                              character));
    }
    if (is_unknown_waiting && !fuse_unknown_) {
      s.ids.push_back(unknown_);
    }
    is_unknown_waiting = true;
  }
  if (is_unknown_waiting) {
    s.ids.push_back(unknown_);
  }
  return {};
}

void bpe::merge(scratch& s, std::vector<token_id>& out) const {
  if (s.ids.size() > short_word_tokens_max) {
    merge_long(s, out);
    return;
  }
  merge_short(s);
  out.insert(out.end(), s.ids.begin(), s.ids.end());
}

void bpe::merge_short(scratch& s) const {
  std::vector<token_id>& ids = s.ids;
  std::vector<pair_merge>& merges = s.merges;
  merges.clear();
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    merges.push_back(pairs_.find(ids[i], ids[i + 1]));
  }
  while (!merges.empty()) {
    const auto best =
        std::min_element(merges.begin(),
                         merges.end(),
                         [](const pair_merge& a, const pair_merge& b) { return a.rank < b.rank; });
    if (best->rank == pair_merge::no_rank) {
      return;
    }
    const auto i = static_cast<std::size_t>(best - merges.begin());
    ids[i] = best->merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    merges.erase(best);
    if (i > 0) {
      merges[i - 1] = pairs_.find(ids[i - 1], ids[i]);
    }
    if (i < merges.size()) {
      merges[i] = pairs_.find(ids[i], ids[i + 1]);
    }
  }
}

void bpe::merge_long(scratch& s, std::vector<token_id>& out) const {
  constexpr std::int32_t end = -1;
  const auto count = static_cast<std::int32_t>(s.ids.size());
  const auto at = [](std::int32_t position) {
    return static_cast<std::size_t>(position);
  };
  s.previous.resize(s.ids.size());
  s.next.resize(s.ids.size());
  s.merges.assign(s.ids.size(), pair_merge{});
  s.heap.clear();
  const auto consider = [&s, this, at](std::int32_t left) {
    const pair_merge merge = s.next[at(left)] == end
                                 ? pair_merge{}
                                 : pairs_.find(s.ids[at(left)], s.ids[at(s.next[at(left)])]);
    s.merges[at(left)] = merge;
    if (merge.rank != pair_merge::no_rank) {
      s.heap.push_back(static_cast<std::uint64_t>(merge.rank) << 32
                       | static_cast<std::uint32_t>(left));
      return true;
    }
    return false;
  };
  for (std::int32_t i = 0; i < count; ++i) {
    s.previous[at(i)] = i - 1;
    s.next[at(i)] = i + 1 < count ? i + 1 : end;
    consider(i);
  }
  std::make_heap(s.heap.begin(), s.heap.end(), std::greater<>{});
  while (!s.heap.empty()) {
    std::pop_heap(s.heap.begin(), s.heap.end(), std::greater<>{});
    const std::uint64_t top = s.heap.back();
    s.heap.pop_back();
    const auto left = static_cast<std::int32_t>(top & 0xFFFFFFFFU);
    // Stale entries: the pair has changed since, or its left token was merged away (then its rank
    // is no_rank).
    if (s.merges[at(left)].rank != static_cast<std::uint32_t>(top >> 32)) {
      continue;
    }
    const std::int32_t right = s.next[at(left)];
    s.ids[at(left)] = s.merges[at(left)].merged;
    s.merges[at(right)] = pair_merge{};
    s.next[at(left)] = s.next[at(right)];
    if (s.next[at(left)] != end) {
      s.previous[at(s.next[at(left)])] = left;
    }
    if (consider(left)) {
      std::push_heap(s.heap.begin(), s.heap.end(), std::greater<>{});
    }
    if (s.previous[at(left)] >= 0 && consider(s.previous[at(left)])) {
      std::push_heap(s.heap.begin(), s.heap.end(), std::greater<>{});
    }
  }
  for (std::int32_t i = 0; i != end; i = s.next[at(i)]) {
    out.push_back(s.ids[at(i)]);
  }
}

} // namespace vdist::text
