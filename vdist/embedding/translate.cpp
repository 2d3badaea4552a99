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

parameter_shard to_public(actors::parameter_shard shard) {
  return {.rank = shard.rank,
          .weight = std::move(shard.weight),
          .axis = shard.axis == actors::whole_axis ? std::nullopt : std::optional(shard.axis),
          .offset = shard.offset,
          .shape = std::move(shard.shape)};
}

weight_description to_public(actors::weight_description weight) {
  return {.name = std::move(weight.name),
          .shape = std::move(weight.shape),
          .dtype = std::move(weight.dtype),
          .bytes = weight.bytes,
          .padding_rows = weight.padding_rows};
}

layer_description to_public(actors::layer_description layer) {
  return {.layer = layer.layer, .stage = layer.stage, .ranks = std::move(layer.ranks)};
}

parameter_description to_public(actors::parameter_description parameter);
rank_description to_public(actors::rank_description rank);

template <class Inner>
auto all_to_public(std::vector<Inner> all) {
  std::vector<decltype(to_public(std::declval<Inner>()))> made;
  made.reserve(all.size());
  for (auto& one : all) {
    made.push_back(to_public(std::move(one)));
  }
  return made;
}

parameter_description to_public(actors::parameter_description parameter) {
  return {.name = std::move(parameter.name),
          .layer = parameter.layer < 0 ? std::nullopt : std::optional(parameter.layer),
          .shape = std::move(parameter.shape),
          .dtype = std::move(parameter.dtype),
          .bytes = parameter.bytes,
          .shards = all_to_public(std::move(parameter.shards))};
}

rank_description to_public(actors::rank_description rank) {
  return {.rank = rank.rank,
          .replica = rank.replica,
          .stage = rank.stage,
          .tensor = rank.tensor,
          .device = rank.device,
          .first_layer = static_cast<std::int32_t>(rank.layers.first),
          .layers = static_cast<std::int32_t>(rank.layers.last - rank.layers.first),
          .weight_bytes = rank.weight_bytes,
          .kv_bytes_per_block = rank.kv_bytes_per_block,
          .activation_bytes = rank.activation_bytes,
          .weights = all_to_public(std::move(rank.weights))};
}

std::uint64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::uint64_t elements = 1;
  for (const auto size : shape) {
    elements *= static_cast<std::uint64_t>(size);
  }
  return elements;
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
  const bool is_inner = cause.code == errc::stale || cause.code == errc::aborted
                        || cause.code == errc::device_failed || cause.code == errc::device_lost;
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

model_description to_public(actors::model_description model) {
  model_description made{.name = std::move(model.name),
                         .architecture = std::move(model.architecture),
                         .dtype = std::move(model.dtype),
                         .hidden = model.hidden,
                         .heads = model.heads,
                         .kv_heads = model.kv_heads,
                         .head_dim = model.head_dim,
                         .intermediate = model.intermediate,
                         .vocabulary = model.vocabulary,
                         .max_model_len = model.max_model_len,
                         .layers = all_to_public(std::move(model.layers)),
                         .parameters = all_to_public(std::move(model.parameters)),
                         .ranks = all_to_public(std::move(model.ranks))};
  for (const auto& parameter : made.parameters) {
    made.parameter_bytes += parameter.bytes;
    made.parameter_count += elements_of(parameter.shape);
  }
  return made;
}

layer_row to_public(actors::layer_row row) {
  return {.request_id = row.request.value,
          .position = row.position,
          .layer = row.layer,
          .step = row.step,
          .epoch = row.epoch,
          .values = std::move(row.values)};
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
