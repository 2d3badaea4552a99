#include "runtime/text/tokenizer.hpp"

#include "runtime/text/tokenizer_file.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text {

/// What one encode() works with; none of it outlives the call.
struct tokenizer::encode_state {
  std::vector<token_id> tokens; // the result
  pre_tokenizer::buffers words;
  bpe::scratch merging;
};

result<std::shared_ptr<const tokenizer>>
tokenizer::load(const std::filesystem::path& model_folder) {
  VDIST_ASSIGN(tokenizer_parts parts, read_tokenizer_parts(model_folder));
  return assemble(std::move(parts));
}

result<std::shared_ptr<const tokenizer>> tokenizer::assemble(tokenizer_parts parts) {
  const auto in_file = [&parts](const error& e) {
    return fail(e.code, fmt::format("load tokenizer: {} (file={})", e.context, parts.file));
  };
  auto words = pre_tokenizer::build(std::move(parts.pre_tokenizer));
  if (!words) {
    return in_file(words.error());
  }
  const bool uses_bytes = words->ends_in_byte_level() && bpe::has_all_bytes(parts.model);
  if (uses_bytes) {
    words->leave_bytes();
  }
  auto model = bpe::build(parts.model, uses_bytes ? word_units::bytes : word_units::characters);
  if (!model) {
    return in_file(model.error());
  }
  auto decoding = decoder::build(std::move(parts.decoder));
  if (!decoding) {
    return in_file(decoding.error());
  }
  const std::shared_ptr<tokenizer> made(new tokenizer(*std::move(model)));
  made->normalizer_ = normalizer(std::move(parts.normalizer));
  made->pre_tokenizer_ = *std::move(words);
  made->decoder_ = *std::move(decoding);
  made->bos_ = parts.bos;
  made->eos_ = parts.eos;
  if (auto added = made->add_pieces(parts); !added) {
    return in_file(added.error());
  }
  made->frame_ = std::move(parts.frame);
  return std::shared_ptr<const tokenizer>(made);
}

result<void> tokenizer::add_pieces(const tokenizer_parts& parts) {
  std::size_t bytes = 0;
  const auto put = [this, &bytes](const std::string& text, token_id id, bool is_special) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= pieces_.size()) {
      pieces_.resize(index + 1);
    }
    bytes += text.size();
    pieces_[index] = {text, is_special};
  };
  for (const auto& [text, id] : parts.model.vocabulary) {
    put(text, id, false);
  }
  std::vector<added_token> raw;
  std::vector<added_token> normalized;
  for (const added_token& token : parts.added) {
    put(token.content, token.id, token.special);
    if (!token.normalized) {
      raw.push_back(token);
      continue;
    }
    // The text that it is looked for in has been normalized, so its content must be, too.
    added_token searched = token;
    VDIST_ASSIGN(searched.content, normalizer_.apply(token.content));
    if (!searched.content.empty()) {
      normalized.push_back(std::move(searched));
    }
  }
  const auto special_first = [](const added_token& a, const added_token& b) {
    return a.special && !b.special;
  };
  std::stable_sort(raw.begin(), raw.end(), special_first);
  std::stable_sort(normalized.begin(), normalized.end(), special_first);
  raw_matcher_ = added_token_matcher(std::move(raw));
  normalized_matcher_ = added_token_matcher(std::move(normalized));
  ids_.reset(pieces_.size(), bytes);
  for (std::size_t id = 0; id < pieces_.size(); ++id) {
    ids_.insert(pieces_[id].text, static_cast<std::uint32_t>(id));
  }
  for (const auto* side : {&parts.frame.before, &parts.frame.after}) {
    for (const token_id id : *side) {
      if (token_text(id).empty()) {
        return fail(errc::corrupt,
                    fmt::format("special token has no text (key=post_processor, id={})", id));
      }
    }
  }
  return {};
}

result<std::vector<token_id>> tokenizer::encode(std::string_view utf8, special_tokens add) const {
  if (utf8.size() > encode_bytes_max) {
    return fail(errc::invalid_argument,
                fmt::format("encode: text is too long (bytes={}, at most {})",
                            utf8.size(),
                            encode_bytes_max));
  }
  if (const std::size_t invalid = find_invalid_utf8(utf8); invalid != std::string_view::npos) {
    return fail(errc::invalid_argument,
                fmt::format("encode: text is not valid utf-8 (byte_offset={})", invalid));
  }
  encode_state state;
  state.tokens.reserve(utf8.size() / 3 + frame_.before.size() + frame_.after.size());
  if (add == special_tokens::add) {
    state.tokens = frame_.before;
  }
  std::vector<text_fragment> fragments;
  raw_matcher_.split(utf8, fragments);
  for (const text_fragment& fragment : fragments) {
    if (fragment.token >= 0) {
      state.tokens.push_back(fragment.token);
    } else {
      VDIST_TRY(encode_fragment(fragment.text, fragment.text.data() == utf8.data(), state));
    }
  }
  if (add == special_tokens::add) {
    state.tokens.insert(state.tokens.end(), frame_.after.begin(), frame_.after.end());
  }
  return std::move(state.tokens);
}

result<void>
tokenizer::encode_fragment(std::string_view utf8, bool is_start, encode_state& state) const {
  if (normalizer_.is_identity()) {
    return encode_normalized(utf8, is_start, state);
  }
  VDIST_ASSIGN(const std::string text, normalizer_.apply(utf8));
  return encode_normalized(text, is_start, state);
}

result<void>
tokenizer::encode_normalized(std::string_view utf8, bool is_start, encode_state& state) const {
  std::vector<text_fragment> fragments;
  normalized_matcher_.split(utf8, fragments);
  for (const text_fragment& fragment : fragments) {
    if (fragment.token >= 0) {
      state.tokens.push_back(fragment.token);
      continue;
    }
    const bool starts_here = is_start && fragment.text.data() == utf8.data();
    VDIST_TRY(pre_tokenizer_.split(fragment.text, starts_here, state.words));
    for (const text_piece& word : state.words.pieces) {
      VDIST_TRY(model_.encode(word.text, state.merging, state.tokens));
    }
  }
  return {};
}

std::string tokenizer::decode(std::span<const token_id> tokens,
                              special_tokens_output output) const {
  std::string text;
  text.reserve(tokens.size() * 4);
  decode_stream stream(decoder_, text_start::begins);
  for (const token_id id : tokens) {
    const std::string_view piece = token_text(id);
    if (!piece.empty() && (output == special_tokens_output::keep || !is_special(id))) {
      stream.push(piece, text);
    }
  }
  stream.flush(text);
  return text;
}

std::string_view tokenizer::token_text(token_id id) const noexcept {
  return id >= 0 && static_cast<std::size_t>(id) < pieces_.size()
             ? std::string_view(pieces_[static_cast<std::size_t>(id)].text)
             : std::string_view();
}

bool tokenizer::is_special(token_id id) const noexcept {
  return id >= 0 && static_cast<std::size_t>(id) < pieces_.size()
         && pieces_[static_cast<std::size_t>(id)].is_special;
}

std::optional<token_id> tokenizer::find_token(std::string_view text) const {
  const std::uint32_t id = text.empty() ? piece_table::none : ids_.find(text);
  return id == piece_table::none ? std::nullopt : std::optional(static_cast<token_id>(id));
}

} // namespace vdist::text
