// What makes the first steps of a rank slow, done before they come: kernels are loaded, plans of cuBLASLt made, decode steps
// recorded and brought to the device. Every size of a decode step runs once, with rows of padding, silent links and few
// layers, which is a millisecond each; then it is recorded whole, with the links that it will have. Two sizes of prefill
// run as well. What one size costs on an H200 is about a millisecond, and less than 2 MiB per recording.
#include "model/exec/rank_model.hpp"
#include "model/exec/silent_links.hpp"
#include "model/exec/step_buckets.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <new>

namespace vdist::exec {

namespace {

/// Layers of a step that only loads what its size needs: two, where every other is of another kind.
constexpr std::size_t rehearsed_layers = 2;
/// Of a prefill step beyond the activations that stay: longer ones use the same kernels.
constexpr std::int32_t large_step_tokens = 2048;

/// Buckets of every step that a rank of these limits may get, rising.
std::vector<std::int32_t> buckets_of(const runner_limits& limits) {
  const auto most =
      std::min(bucket_of(std::min(limits.max_sequences, bucket_max)), limits.max_batch_tokens);
  std::vector<std::int32_t> found;
  for (std::int32_t size = 1; size > 0 && size <= most; size = bucket_of(size + 1)) {
    found.push_back(size);
  }
  return found;
}

/// Prompts are many tokens of a sequence; one of padding has one. That some have more is said, and none is found.
step_shape prefill_shape(std::int32_t tokens, const runner_limits& limits) {
  return {.tokens = tokens,
          .sequences = tokens,
          .samples = std::min(tokens, limits.max_sequences),
          .longest_query = 2,
          .max_position = limits.max_positions};
}

} // namespace

result<void> rank_model::rehearse(const rehearsal_links& links) {
  if (queue_.is_host_memory()) {
    return {};
  }
  VDIST_CHECK(flights_under_way_ == 0, "R-6: a rehearsal comes before every step");
  silent_communicator group(place_.tensor_rank, place_.tensor_size, links.are_enqueued);
  silent_pipe from_previous;
  silent_pipe to_next;
  const peers silent{.group = place_.tensor_size > 1 ? &group : nullptr,
                     .from_previous = place_.is_first_stage() ? nullptr : &from_previous,
                     .to_next = place_.is_last_stage() ? nullptr : &to_next,
                     .are_enqueued = links.are_enqueued};
  auto done = run_rehearsal(silent, links);
  links_ = {};
  layers_run_ = network_.decoder.layers.size();
  slots_.clear();
  return done;
}

result<void> rank_model::run_rehearsal(const peers& silent, const rehearsal_links& links) {
  const auto buckets = buckets_of(limits_);
  connect(silent);
  VDIST_TRY(inputs_.rehearse());
  VDIST_TRY(slots_.apply({})); // no sequence: everything that is placed is padding
  const auto ways = ways_to_sample();
  layers_run_ = std::min(rehearsed_layers, network_.decoder.layers.size());
  for (const auto bucket : buckets) {
    VDIST_TRY(rehearse_step(padded_shape(bucket), ways.front()));
  }
  VDIST_TRY(rehearse_step(prefill_shape(space_.tokens(), limits_), ways.front()));
  VDIST_TRY(rehearse_large_step(ways.front()));
  layers_run_ = network_.decoder.layers.size();
  VDIST_TRY(rehearse_step(padded_shape(buckets.back()), ways.front())); // whole, once
  if (!is_asynchronous() || (!silent.are_none() && links.recorded.are_none())) {
    return {};
  }
  connect(links.recorded);
  for (const auto bucket : buckets) {
    for (const bool on_device : ways) {
      VDIST_TRY(record_ahead(padded_shape(bucket), on_device));
    }
  }
  return {};
}

/// Whether the device samples alone, for every sort of step that may come. Its way has all that the other has.
std::vector<bool> rank_model::ways_to_sample() const {
  if (!is_asynchronous()) {
    return {false};
  }
  if (!network_.decoder.head) {
    return {true};
  }
  return device_can_sample() ? std::vector<bool>{true, false} : std::vector<bool>{false};
}

/// The arrays of a step without sequences. They are on the device when this returns: staging memory is free again, and no
/// step sees half of another's arrays.
result<step_arrays> rank_model::place_padding(const step_shape& shape) {
  VDIST_ASSIGN(const auto arrays, inputs_.place(slots_, shape, {}, 0));
  VDIST_TRY(wait_.for_all());
  return arrays;
}

result<void> rank_model::rehearse_step(const step_shape& shape, bool on_device) {
  VDIST_ASSIGN(const auto arrays, place_padding(shape));
  VDIST_TRY(run(arrays, shape, on_device));
  if (network_.decoder.head && !on_device) {
    const auto in = make_context(arrays, shape);
    const row_range rows{0, std::min(shape.samples, head_space_.logit_rows())};
    VDIST_ASSIGN(const float* logits, head_logits(in, arrays, rows));
    if (device_can_sample()) {
      sample_rows(in, arrays, logits, rows, nullptr);
    }
  }
  return wait_.for_all();
}

/// In memory that is given back, unless the rank has it anyway; left out where there is none.
result<void> rank_model::rehearse_large_step(bool on_device) {
  const auto tokens = std::min(limits_.max_batch_tokens, large_step_tokens);
  if (tokens <= space_.tokens()) {
    return {};
  }
  if (large_space_) {
    return rehearse_step(prefill_shape(tokens, limits_), on_device);
  }
  try {
    large_space_ = std::make_unique<workspace>(network_.decoder, tokens, form_, queue_);
  } catch (const std::bad_alloc&) {
    return {};
  }
  auto done = rehearse_step(prefill_shape(tokens, limits_), on_device);
  large_space_.reset();
  return done;
}

result<void> rank_model::record_ahead(const step_shape& shape, bool on_device) {
  VDIST_ASSIGN(const auto arrays, place_padding(shape));
  const auto key = recording_key(shape, on_device);
  result<void> done;
  queue_.record_ahead(
      key, [this, &done, &arrays, &shape, on_device] { done = run(arrays, shape, on_device); });
  if (!done) {
    queue_.forget(key);
    return done;
  }
  return wait_.for_all();
}

} // namespace vdist::exec
