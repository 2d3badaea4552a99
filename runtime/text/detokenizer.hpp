// runtime/text/detokenizer.hpp — text from tokens as they are generated, one detokenizer per
// answer. Each push() returns the text that no later token can change; the last flush() returns
// what was held back. T-2 all output together equals tokenizer::decode() of all tokens, for any
// sequence of ids and text_start::begins. Only whole characters are returned. Behind a prompt use
// text_start::continues: SentencePiece models then keep the space in front of the first word. Not
// thread-safe.
#pragma once

#include "runtime/text/tokenizer.hpp"

#include <memory>
#include <string>

namespace vdist::text {

class detokenizer {
public:
  /// The tokenizer is shared with everybody who encodes or decodes with it.
  detokenizer(std::shared_ptr<const tokenizer> from,
              special_tokens_output output,
              text_start start);

  /// The text that is final once `token` is known; often empty. Ids without a token add nothing.
  [[nodiscard]] std::string push(token_id token);
  /// The end: what was held back, with U+FFFD for an unfinished character. The detokenizer then
  /// starts anew.
  [[nodiscard]] std::string flush();

private:
  std::shared_ptr<const tokenizer>
      tokenizer_; // shared: keeps the decoder alive that stream_ borrows
  special_tokens_output output_;
  decode_stream stream_;
};

} // namespace vdist::text
