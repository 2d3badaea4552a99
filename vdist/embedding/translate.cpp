#include "vdist/embedding/translate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::embedding {

namespace {

// Numbers are the same on both sides, so that a code which is added later is not lost.
static_assert(static_cast<int>(errc::invalid_argument)
              == static_cast<int>(error_code::invalid_argument));
static_assert(static_cast<int>(errc::bad_configuration)
              == static_cast<int>(error_code::bad_configuration));
static_assert(static_cast<int>(errc::unsupported) == static_cast<int>(error_code::unsupported));
static_assert(static_cast<int>(errc::not_found) == static_cast<int>(error_code::not_found));
static_assert(static_cast<int>(errc::corrupt) == static_cast<int>(error_code::corrupt));
static_assert(static_cast<int>(errc::resource_exhausted)
              == static_cast<int>(error_code::resource_exhausted));
static_assert(static_cast<int>(errc::queue_full) == static_cast<int>(error_code::queue_full));
static_assert(static_cast<int>(errc::timed_out) == static_cast<int>(error_code::timed_out));
static_assert(static_cast<int>(errc::closed) == static_cast<int>(error_code::closed));
static_assert(static_cast<int>(errc::cancelled) == static_cast<int>(error_code::cancelled));
static_assert(static_cast<int>(errc::io_failed) == static_cast<int>(error_code::io_failed));
static_assert(static_cast<int>(errc::internal) == static_cast<int>(error_code::internal));
static_assert(static_cast<int>(protocol::finish_reason::stop)
              == static_cast<int>(finish_reason::stop));
static_assert(static_cast<int>(protocol::finish_reason::length)
              == static_cast<int>(finish_reason::length));
static_assert(static_cast<int>(protocol::finish_reason::cancelled)
              == static_cast<int>(finish_reason::cancelled));
static_assert(static_cast<int>(protocol::finish_reason::failed)
              == static_cast<int>(finish_reason::failed));

token_logprob to_public(api::token_info info) {
  return {.id = info.id, .text = std::move(info.text), .logprob = info.logprob};
}

position_logprobs to_public(api::position_logprobs position) {
  position_logprobs made{.chosen = to_public(std::move(position.chosen)), .top = {}};
  for (auto& one : position.top) {
    made.top.push_back(to_public(std::move(one)));
  }
  return made;
}

/// A TOML string.
std::string toml_string(std::string_view text) {
  std::string made = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\' || c == 0x7F) {
      made += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      made += c;
    }
  }
  return made + '"';
}

} // namespace

/// Codes of the inner workings are of no use outside.
engine_error to_public(const error& cause) {
  const bool is_inner = cause.code == errc::stale || cause.code == errc::aborted;
  return {is_inner ? error_code::internal : static_cast<error_code>(cause.code), cause.context};
}

actors::generate_request to_internal(const generate_request& request,
                                     api::sampling_params defaults) {
  const auto& wanted = request.sampling;
  auto params = std::move(defaults);
  params.temperature = wanted.temperature.value_or(params.temperature);
  params.top_p = wanted.top_p.value_or(params.top_p);
  params.top_k = wanted.top_k.value_or(params.top_k);
  params.min_p = wanted.min_p.value_or(params.min_p);
  params.repetition_penalty = wanted.repetition_penalty.value_or(params.repetition_penalty);
  params.presence_penalty = wanted.presence_penalty;
  params.frequency_penalty = wanted.frequency_penalty;
  params.logit_bias = wanted.logit_bias;
  std::sort(params.logit_bias.begin(), params.logit_bias.end());
  params.seed = wanted.seed;
  params.stop = wanted.stop;
  params.stop_token_ids = wanted.stop_token_ids;
  params.include_stop_str_in_output = wanted.include_stop;
  params.min_tokens = wanted.min_tokens;
  params.max_tokens = wanted.max_tokens ? wanted.max_tokens : params.max_tokens;
  params.ignore_eos = wanted.ignore_eos;
  params.n = wanted.n;
  params.logprobs = wanted.logprobs;
  params.skip_special_tokens = wanted.skip_special_tokens;
  params.priority = wanted.priority;
  return {.prompt = request.prompt, .token_ids = request.token_ids, .params = std::move(params)};
}

token_event to_event(std::int32_t sequence, actors::text_chunk chunk) {
  token_event event{.sequence = sequence,
                    .text = std::move(chunk.text),
                    .token_ids = std::move(chunk.token_ids),
                    .logprobs = {},
                    .reason = static_cast<finish_reason>(chunk.reason),
                    .message = std::move(chunk.message)};
  event.logprobs.reserve(chunk.logprobs.size());
  for (auto& position : chunk.logprobs) {
    event.logprobs.push_back(to_public(std::move(position)));
  }
  return event;
}

engine_stats to_public(const actors::engine_status& status) {
  return {.active_requests = status.active_requests,
          .finished_requests = status.finished_requests,
          .steps = status.steps,
          .computed_tokens = status.computed_tokens,
          .prefix_tokens = status.prefix_tokens,
          .preemptions = status.preemptions,
          .worker_restarts = status.restarts,
          .actor_restarts = status.actor_restarts,
          .control_us_per_step = status.control_us_per_step,
          .epochs = status.epochs};
}

std::vector<std::string> to_settings(const engine_config& config) {
  std::vector<std::string> all;
  const auto add_text = [&all](std::string_view key, const std::optional<std::string>& value) {
    if (value) {
      all.push_back(fmt::format("{}={}", key, toml_string(*value)));
    }
  };
  const auto add_number = [&all](std::string_view key, const auto& value) {
    if (value) {
      all.push_back(fmt::format("{}={}", key, *value));
    }
  };
  add_text("model.path", config.model);
  add_text("model.dtype", config.dtype);
  add_number("model.max_model_len", config.max_model_len);
  add_text("device.kind", config.device);
  add_number("device.memory_utilization", config.memory_utilization);
  add_number("device.kv_cache_bytes", config.kv_cache_bytes);
  add_number("device.threads", config.threads);
  add_number("parallel.data", config.data);
  add_number("parallel.pipeline", config.pipeline);
  add_number("parallel.tensor", config.tensor);
  add_number("scheduler.max_sequences", config.max_sequences);
  add_number("scheduler.max_batch_tokens", config.max_batch_tokens);
  if (config.uses_processes) {
    all.emplace_back("cluster.isolation=\"process\"");
  }
  all.insert(all.end(), config.settings.begin(), config.settings.end());
  return all;
}

} // namespace vdist::embedding
