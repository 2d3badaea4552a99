#include "runtime/api/to_protocol.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>

namespace vdist::api {

namespace {

result<void>
check_ids(std::string_view field, std::span<const token_id> ids, std::int32_t vocabulary) {
  const auto bad = std::find_if(
      ids.begin(), ids.end(), [vocabulary](token_id id) { return id < 0 || id >= vocabulary; });
  if (bad != ids.end()) {
    return fail(
        errc::invalid_argument,
        fmt::format("request: token id in {} is outside the vocabulary (id={}); legal: 0 to {}",
                    field,
                    *bad,
                    vocabulary - 1));
  }
  return {};
}

/// Tokens to generate at most: the user's number, or what the model's default and the context
/// leave.
result<std::int32_t>
resolve_max_tokens(std::size_t prompt, const sampling_params& params, const model_limits& limits) {
  const std::int64_t rest = std::int64_t{limits.max_model_len} - static_cast<std::int64_t>(prompt);
  const std::int64_t wanted = params.max_tokens.value_or(std::max(1, params.min_tokens));
  if (wanted > rest) {
    return fail(
        errc::invalid_argument,
        fmt::format(
            "request: prompt and generated tokens exceed the context (prompt_tokens={}, {}={}, "
            "max_model_len={})",
            prompt,
            params.max_tokens ? "max_tokens" : "min_tokens",
            wanted,
            limits.max_model_len));
  }
  if (params.max_tokens) {
    return *params.max_tokens;
  }
  // The default of the model never cuts what the user asked for with min_tokens.
  const std::int64_t usual =
      std::max<std::int64_t>(limits.default_max_tokens.value_or(limits.max_model_len), wanted);
  return static_cast<std::int32_t>(std::min(rest, usual));
}

} // namespace

protocol::sampling_record to_record(const sampling_params& params, std::uint64_t seed) {
  protocol::sampling_record record;
  record.seed = seed;
  record.repetition_penalty = params.repetition_penalty;
  record.presence_penalty = params.presence_penalty;
  record.frequency_penalty = params.frequency_penalty;
  record.min_tokens = params.min_tokens;
  record.logprobs = params.logprobs.value_or(-1);
  if (params.is_greedy()) {
    return record;
  }
  record.temperature = std::max(params.temperature, temperature_min_sampled);
  record.top_p = params.top_p;
  record.min_p = params.min_p;
  record.top_k = std::max(params.top_k, 0);
  return record;
}

std::uint64_t sequence_seed(std::uint64_t seed, std::int32_t index) noexcept {
  if (index == 0) {
    return seed;
  }
  // The finaliser of splitmix64: neighbouring indices give unrelated seeds.
  std::uint64_t x = seed + static_cast<std::uint64_t>(index) * 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

result<protocol::request> make_request(std::span<const token_id> prompt,
                                       const sampling_params& params,
                                       std::uint64_t seed,
                                       const model_limits& limits) {
  VDIST_TRY(validate(params));
  if (prompt.empty()) {
    return fail(errc::invalid_argument, "request: the prompt has no tokens; legal: at least 1");
  }
  VDIST_TRY(check_ids("prompt", prompt, limits.vocabulary));
  VDIST_TRY(check_ids("stop_token_ids", params.stop_token_ids, limits.vocabulary));
  protocol::request request;
  VDIST_ASSIGN(request.max_tokens, resolve_max_tokens(prompt.size(), params, limits));
  request.priority = params.priority;
  request.prompt.assign(prompt.begin(), prompt.end());
  request.ignore_eos = params.ignore_eos;
  request.eos_ids.assign(limits.eos_ids.begin(), limits.eos_ids.end());
  request.stop_token_ids = params.stop_token_ids;
  request.sampling = to_record(params, seed);
  for (const auto& [id, value] : params.logit_bias) {
    VDIST_TRY(check_ids("logit_bias", std::span(&id, 1), limits.vocabulary));
    request.logit_bias.emplace_back(id, std::clamp(value, -logit_bias_max, logit_bias_max));
  }
  return request;
}

} // namespace vdist::api
