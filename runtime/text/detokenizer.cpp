#include "runtime/text/detokenizer.hpp"

namespace vdist::text {

detokenizer::detokenizer(std::shared_ptr<const tokenizer> from,
                         special_tokens_output output,
                         text_start start)
    : tokenizer_(std::move(from)), output_(output), stream_(tokenizer_->decoding(), start) {}

std::string detokenizer::push(token_id token) {
  std::string text;
  const std::string_view piece = tokenizer_->token_text(token);
  if (!piece.empty()
      && (output_ == special_tokens_output::keep || !tokenizer_->is_special(token))) {
    stream_.push(piece, text);
  }
  return text;
}

std::string detokenizer::flush() {
  std::string text;
  stream_.flush(text);
  return text;
}

} // namespace vdist::text
