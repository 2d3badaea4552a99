// runtime/api/sampling_params.hpp — how a request's tokens are chosen and when it ends, as the user
// states it. The names, meanings and ranges are those of the OpenAI API and its common extensions.
// Values are complete: defaults of the model are laid below the user's values before validate()
// runs, nothing is filled in later except the seed.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::api {

inline constexpr float temperature_max = 2.0F;
/// Temperatures in (0, this) are raised to it: dividing logits by less overflows.
inline constexpr float temperature_min_sampled = 0.01F;
inline constexpr float penalty_max = 2.0F;      // presence and frequency: [-2, 2]
inline constexpr float logit_bias_max = 100.0F; // larger values act as ±100
inline constexpr std::int32_t logprobs_max = 20;
inline constexpr std::int32_t n_max = 16384;
inline constexpr std::size_t logit_bias_entries_max = 1024;
inline constexpr std::size_t stop_strings_max = 4;
inline constexpr std::size_t stop_string_bytes_max = 1024;
inline constexpr std::size_t stop_token_ids_max = 128;

struct sampling_params {
  float temperature = 1;  // [0, 2]; 0: greedy, always the most likely token
  float top_p = 1;        // (0, 1]; keep the likeliest tokens whose probabilities sum up to this
  std::int32_t top_k = 0; // keep the k likeliest tokens; 0 or -1: all
  float min_p = 0;        // [0, 1]; keep tokens at least this likely, relative to the likeliest
  float repetition_penalty = 1; // > 0; divides the logits of tokens in prompt or output
  float presence_penalty = 0;   // [-2, 2]; subtracted once for a token that is in the output
  float frequency_penalty = 0;  // [-2, 2]; subtracted per occurrence in the output
  std::vector<std::pair<token_id, float>>
      logit_bias;                       // added to logits; rising ids, each at most once
  std::optional<std::uint64_t> seed;    // nullopt: drawn by the front door
  std::vector<std::string> stop;        // the text ends before the first of these
  std::vector<token_id> stop_token_ids; // end the sequence, also with ignore_eos
  bool include_stop_str_in_output = false;
  std::int32_t min_tokens = 0;            // no stop token before this many generated tokens
  std::optional<std::int32_t> max_tokens; // >= 1; nullopt: the rest of the context
  bool ignore_eos = false;                // the model's end-of-sequence ids do not end the sequence
  std::int32_t n = 1;                     // independent sequences of the same prompt
  std::optional<std::int32_t>
      logprobs;                    // 0 … 20 alternatives per token; nullopt: no log probabilities
  bool skip_special_tokens = true; // leave special tokens out of the text
  std::int32_t priority = 0;       // smaller runs first, under scheduler.policy = "priority"

  [[nodiscard]] bool is_greedy() const { return temperature == 0; }

  friend bool operator==(const sampling_params&, const sampling_params&) = default;
};

/// Checks every range. The error (invalid_argument) names the parameter, its value and what is
/// legal.
[[nodiscard]] result<void> validate(const sampling_params& params);

/// The parameter that an error of validate() names.
[[nodiscard]] std::string_view refused_parameter(const error& cause) noexcept;

} // namespace vdist::api
