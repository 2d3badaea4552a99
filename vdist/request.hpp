// vdist/request.hpp — what is asked of an engine, and what comes back: plain structs with defaults. Names, meanings and
// ranges are those of the OpenAI API and its common extensions; a value out of range is refused by name, never bent.
// Every field is initialised, so that designated initialisers which leave some out draw no warning.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist {
inline namespace v0 {

/// How tokens are chosen and when a sequence ends. nullopt: as the model's generation_config.json recommends, else neutral.
struct sampling_options {
  std::optional<float> temperature = {};  // [0, 2]; 0: greedy, always the likeliest token
  std::optional<float> top_p = {};        // (0, 1]; the likeliest tokens that sum up to this
  std::optional<std::int32_t> top_k = {}; // the k likeliest tokens; 0 or -1: all
  std::optional<float> min_p = {};        // [0, 1]; at least this likely, relative to the likeliest
  std::optional<float> repetition_penalty = {}; // > 0; divides the logits of what has occurred
  float presence_penalty = 0;                   // [-2, 2]; once for a token of the output
  float frequency_penalty = 0;                  // [-2, 2]; per occurrence in the output
  /// Token id and what is added to its logit, [-100, 100]; each id at most once.
  std::vector<std::pair<std::int32_t, float>> logit_bias = {};
  std::optional<std::uint64_t> seed = {}; // nullopt: drawn
  std::vector<std::string> stop = {};     // the text ends before the first of these; at most 4
  /// End the sequence, also with ignore_eos; at most 128.
  std::vector<std::int32_t> stop_token_ids = {};
  bool include_stop = false;   // leave the stop string in the text
  std::int32_t min_tokens = 0; // no stop token before this many
  /// At least 1; nullopt: as the model recommends, else the rest of the context.
  std::optional<std::int32_t> max_tokens = {};
  bool ignore_eos = false;                   // the model's end-of-sequence ids end nothing
  std::int32_t n = 1;                        // independent sequences of one prompt
  std::optional<std::int32_t> logprobs = {}; // 0 … 20 alternatives per token; nullopt: none at all
  bool skip_special_tokens = true;           // leave special tokens out of the text
  std::int32_t priority = 0;                 // smaller first, with scheduler.policy = "priority"
};

struct generate_request {
  std::string prompt = {};                  // UTF-8; used when token_ids is empty
  std::vector<std::int32_t> token_ids = {}; // already tokenized
  sampling_options sampling = {};
  /// How long a range or an iterator waits for the next event of the stream before it gives up with `timed_out`; next() and
  /// async_next() say it themselves.
  std::chrono::milliseconds event_timeout = std::chrono::minutes(2);
};

/// Why a sequence ended. `none`: it goes on.
enum class finish_reason : std::uint8_t {
  none = 0,
  stop = 1,
  length = 2,
  cancelled = 3,
  failed = 4
};

/// Lower-case name, as in `finish_reason` of the OpenAI API where that has one. Any thread.
[[nodiscard]] std::string_view to_string(finish_reason reason) noexcept;

struct token_logprob {
  std::int32_t id = 0;
  std::string text = {};
  float logprob = 0; // natural logarithm
};

/// Of one generated token.
struct position_logprobs {
  token_logprob chosen = {};
  std::vector<token_logprob> top = {}; // falling; as many as asked for
};

/// What one sequence has got since its last event: usually one token, more when the reader was slower than the engine.
struct token_event {
  std::int32_t sequence = 0;                // 0 … n-1
  std::string text = {};                    // final, never half a character; may be empty
  std::vector<std::int32_t> token_ids = {}; // of all of it, also where the text is still to come
  std::vector<position_logprobs> logprobs = {}; // one per token when asked for
  finish_reason reason = finish_reason::none;   // not none: the last event of this sequence
  std::string message = {};                     // why, when reason is failed
};

/// A whole sequence.
struct completion {
  std::string text = {};
  std::vector<std::int32_t> token_ids = {};
  std::vector<position_logprobs> logprobs = {};
  finish_reason reason = finish_reason::none; // none: it had not ended when reading was given up
  std::string message = {};
};

/// All n sequences of a request.
struct generation {
  std::int32_t prompt_tokens = 0;
  std::vector<completion> sequences = {}; // by number
};

} // namespace v0
} // namespace vdist
