// runtime/api/to_protocol.hpp — validated parameters and token ids → what the scheduler and the
// sampler get.
#pragma once

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/request.hpp"
#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace vdist::api {

/// The sampler's view of valid parameters. Greedy requests get neutral top_k, top_p and min_p: the
/// same record whatever the user wrote beside temperature 0. The three counts are left to the
/// scheduler.
[[nodiscard]] protocol::sampling_record to_record(const sampling_params& params,
                                                  std::uint64_t seed);

/// Seed of sequence `index` of a request with n > 1. Index 0 keeps the request's seed, so n = 1 and
/// n = 2 agree on it.
[[nodiscard]] std::uint64_t sequence_seed(std::uint64_t seed, std::int32_t index) noexcept;

/// What the model allows.
struct model_limits {
  std::int32_t vocabulary = 0;       // token ids are below this
  std::int32_t max_model_len = 0;    // prompt and generated tokens together
  std::span<const token_id> eos_ids; // borrowed for the call
  std::optional<std::int32_t>
      default_max_tokens; // of requests that name none; cut to what the context leaves
};

/// A request without id, arrival and generated tokens, which the router owns. max_tokens becomes
/// the rest of the context when the user named none. Errors (invalid_argument): empty prompt, token
/// ids outside the vocabulary, prompt + max_tokens beyond the context; the text gives both lengths.
[[nodiscard]] result<protocol::request> make_request(std::span<const token_id> prompt,
                                                     const sampling_params& params,
                                                     std::uint64_t seed,
                                                     const model_limits& limits);

} // namespace vdist::api
