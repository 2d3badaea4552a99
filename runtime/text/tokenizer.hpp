// runtime/text/tokenizer.hpp — text ↔ token ids, exactly as Hugging Face's tokenizers library does
// it for BPE models. encode: added tokens are cut out → normalizer → pre-tokenizer (words) → BPE →
// special tokens around it. Immutable after load(); every member is callable from any thread: all
// routers share one tokenizer. T-1 encode() equals the reference library on valid UTF-8, for every
// supported pipeline. T-2 decode() equals a detokenizer fed with the same tokens (detokenizer.hpp).
// T-3 no file, however damaged, crashes load(); what it accepts is consistent.
// Cost: tens of nanoseconds per byte of usual text; linear in the text, or n log n within one word.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/text/added_tokens.hpp"
#include "runtime/text/bpe.hpp"
#include "runtime/text/decoder.hpp"
#include "runtime/text/normalizer.hpp"
#include "runtime/text/pipeline_file.hpp"
#include "runtime/text/pre_tokenizer.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

struct tokenizer_parts;

/// Longest text that encode() takes.
inline constexpr std::size_t encode_bytes_max = 256UL * 1024 * 1024;

/// Whether encode() puts the model's own special tokens (usually the start of text) around the
/// text. Special tokens that are written in the text are recognised either way.
enum class special_tokens : std::uint8_t { add, omit };

/// Whether special tokens appear in decoded text.
enum class special_tokens_output : std::uint8_t { keep, skip };

class tokenizer {
public:
  /// Reads the folder's tokenizer files (tokenizer_file.hpp). errc::not_found, errc::corrupt or
  /// errc::unsupported, naming file, key and the supported values.
  [[nodiscard]] static result<std::shared_ptr<const tokenizer>>
  load(const std::filesystem::path& model_folder);

  /// errc::invalid_argument for invalid UTF-8 (naming the byte offset) and for texts above
  /// encode_bytes_max.
  [[nodiscard]] result<std::vector<token_id>> encode(std::string_view utf8,
                                                     special_tokens add) const;

  /// Ids without a token are left out. The output is valid UTF-8.
  [[nodiscard]] std::string decode(std::span<const token_id> tokens,
                                   special_tokens_output output) const;

  [[nodiscard]] std::optional<token_id> bos_id() const noexcept { return bos_; }

  [[nodiscard]] std::optional<token_id> eos_id() const noexcept { return eos_; }

  /// The highest id plus one; ids below it may be without a token.
  [[nodiscard]] std::size_t vocab_size() const noexcept { return pieces_.size(); }

  /// The token as the vocabulary writes it ("Ġthe", "▁the", "<0x0A>"); empty where the id has no
  /// token.
  [[nodiscard]] std::string_view token_text(token_id id) const noexcept;
  [[nodiscard]] bool is_special(token_id id) const noexcept;
  /// The id of the token that is written so in the vocabulary or among the added tokens.
  [[nodiscard]] std::optional<token_id> find_token(std::string_view text) const;

  /// The steps that detokenizer.hpp runs.
  [[nodiscard]] const decoder& decoding() const noexcept { return decoder_; }

private:
  struct piece {
    std::string text;
    bool is_special = false;
  };

  struct encode_state;

  explicit tokenizer(bpe model) : model_(std::move(model)) {}

  static result<std::shared_ptr<const tokenizer>> assemble(tokenizer_parts parts);
  result<void> add_pieces(const tokenizer_parts& parts);
  result<void> encode_fragment(std::string_view utf8, bool is_start, encode_state& state) const;
  result<void> encode_normalized(std::string_view utf8, bool is_start, encode_state& state) const;

  added_token_matcher raw_matcher_;        // tokens looked for in the text as it came
  added_token_matcher normalized_matcher_; // tokens looked for in the normalized text
  normalizer normalizer_;
  pre_tokenizer pre_tokenizer_;
  bpe model_;
  decoder decoder_;
  special_frame frame_;
  std::vector<piece> pieces_; // by id
  piece_table ids_;           // by text
  std::optional<token_id> bos_;
  std::optional<token_id> eos_;
};

} // namespace vdist::text
