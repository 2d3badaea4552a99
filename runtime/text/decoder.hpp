// runtime/text/decoder.hpp — turns token texts back into text, piece by piece.
// The file lists steps that work on a list of token texts; we run the same steps as a stream: every
// push() emits what no later token can change. decode_stream is the only implementation: decoding
// at once is pushing all, then flush(). D-1 the concatenation of all output does not depend on how
// tokens arrive.  D-2 only whole characters are emitted. D-3 held back are: at most 3 bytes of an
// unfinished character, the start of a Replace pattern, `stop` characters of Strip. Invalid UTF-8
// becomes U+FFFD: from ByteLevel one per broken-off character, from ByteFallback one per byte.
// (Hugging Face's ByteFallback replaces all bytes of a run of byte tokens when any of them is
// wrong, also the characters that were complete; a stream cannot take those back.)
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/text/unicode.hpp"

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::text {

/// Each token is byte-level text; a token with a character that stands for no byte is taken as it
/// is.
struct byte_level_decoding {};

/// <0xNN> tokens become bytes.
struct byte_fallback_decoding {};

/// From here on all tokens are one.
struct fuse_decoding {};

struct replace_decoding {
  std::string pattern; // not empty
  std::string content;
};

/// Removes up to `start` leading and `stop` trailing characters that equal `content` from each
/// token.
struct strip_decoding {
  std::string content; // one character
  std::uint32_t start = 0;
  std::uint32_t stop = 0;
};

/// `replacement` becomes a space, or nothing in the first token when `drops_first`.
struct metaspace_decoding {
  std::string replacement; // one character
  bool drops_first = true;
};

/// What files without a decoder mean: tokens are separated by spaces.
struct space_joined_decoding {};

using decoder_step = std::variant<byte_level_decoding,
                                  byte_fallback_decoding,
                                  fuse_decoding,
                                  replace_decoding,
                                  strip_decoding,
                                  metaspace_decoding,
                                  space_joined_decoding>;

/// Where decoded text stands, for the rules that treat the first token differently (SentencePiece's
/// leading space).
enum class text_start : std::uint8_t {
  begins,    // the first token begins the text
  continues, // tokens before it were decoded elsewhere: a completion behind its prompt
};

/// The steps of one tokenizer. Immutable.
class decoder {
public:
  decoder() = default;
  /// errc::unsupported when an order of steps cannot be streamed.
  [[nodiscard]] static result<decoder> build(std::vector<decoder_step> steps);

private:
  friend class decode_stream;

  struct stage {
    decoder_step step;
    bool sees_one_token = false; // behind Fuse or ByteLevel: input is one token, in portions
  };

  std::vector<stage> stages_;
};

/// The state of one decoding. Not thread-safe. Borrows the decoder, which must outlive it.
class decode_stream {
public:
  decode_stream(const decoder& steps, text_start start);

  /// Appends to `out` the text that is final once this token is known.
  void push(std::string_view token_text, std::string& out);
  /// The end: appends what was held back. Afterwards the stream starts anew, as after construction.
  void flush(std::string& out);

private:
  struct state {
    utf8_assembler bytes{invalid_bytes::one_per_sequence};
    std::string held;
    std::uint32_t leading = 0;   // Strip: leading characters that may still be removed
    bool is_first_token = false; // Metaspace, join
  };

  void reset();
  static void apply(const byte_level_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const byte_fallback_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const fuse_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const replace_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const strip_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const metaspace_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void apply(const space_joined_decoding& step,
                    const decoder::stage& stage,
                    state& s,
                    std::string_view in,
                    std::string& out);
  static void finish(const decoder::stage& stage, state& s, std::string& out);

  const decoder* decoder_;
  text_start start_;
  std::vector<state> states_; // one per stage
  std::string in_;
  std::string out_;
};

} // namespace vdist::text
