// runtime/api/openai/response.hpp — what answers of the OpenAI API have in common. Answers are written straight into a
// string, without a tree in between: a stream writes one for each token.
// A-1 What is written is valid JSON on one line, whatever the model produced: bytes that are not UTF-8 become U+FFFD, log
// probabilities that are not finite -9999. A-2 It validates against OpenAI's schema of the answer; in streams of
// completions `usage` and `finish_reason` may be null, too, as the API's text says and its schema does not.
// Pure functions, callable from any thread.
#pragma once

#include "runtime/api/result_file.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/protocol/request.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace vdist::api::openai {

/// Data of the event that ends a stream.
inline constexpr std::string_view stream_end = "[DONE]";

/// What all chunks of an answer say alike.
struct response_head {
  std::string id;                 // completion_id() or chat_id()
  std::int64_t created = 0;       // seconds since 1970
  std::string model;              // the name that the request used
  std::string system_fingerprint; // of weights and settings; empty: not said
};

/// "cmpl-" or "chatcmpl-" and 32 hex digits. `high` and `low` are drawn by the caller.
[[nodiscard]] std::string completion_id(std::uint64_t high, std::uint64_t low);
[[nodiscard]] std::string chat_id(std::uint64_t high, std::uint64_t low);

/// Tokens, over all sequences of a request.
struct usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::optional<std::int64_t> cached_tokens; // of the prompt; nullopt: not known
};

/// What ended a sequence with reason stop: the stop string, or a stop token id; nothing for the model's own end.
using stop_cause = std::variant<std::monostate, token_id, std::string_view>;

/// One sequence, or what has been added to it. Borrows.
struct choice_text {
  std::int32_t index = 0;
  std::string_view text;
  std::optional<std::span<const position_logprobs>> logprobs;     // when asked for
  protocol::finish_reason reason = protocol::finish_reason::none; // not none: this is its end
  stop_cause stopped_by;
  /// Characters of this choice that earlier chunks had (count_characters()); for text_offset of completions.
  std::size_t text_offset = 0;
};

/// stop, length; for ends that OpenAI has no word for vLLM's: abort (cancelled), error (failed). A client should get
/// an error object instead of those. Empty for none.
[[nodiscard]] std::string_view finish_word(protocol::finish_reason reason) noexcept;

} // namespace vdist::api::openai
