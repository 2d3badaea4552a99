#include "model/exec/rank_model.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <xxhash.h>

namespace vdist::exec {

namespace {

bool samples(const topology::shard& place) {
  return place.is_last_stage() && place.tensor_rank == 0;
}

slot_table_config table_config(const rank_model_parts& parts) {
  return {.slots = static_cast<std::uint32_t>(parts.limits.max_sequences),
          .max_positions = parts.limits.max_positions,
          .block_size = parts.limits.block_size,
          .max_batch_tokens = parts.limits.max_batch_tokens,
          .tokens = samples(parts.place) ? token_memory::keep : token_memory::forget};
}

bool has_nan(std::span<const float> values) {
  std::int32_t found = 0;
  for (const float value : values) {
    found |= static_cast<std::int32_t>(value != value);
  }
  return found != 0;
}

} // namespace

rank_model::rank_model(rank_model_parts parts)
    : network_(std::move(parts.network)),
      place_(parts.place),
      limits_(parts.limits),
      backend_(std::move(parts.backend)),
      links_(parts.links),
      kv_(lay_out_kv(network_, limits_, parts.kv.data())),
      space_(network_.decoder, limits_, place_.tensor_size),
      slots_(table_config(parts)),
      feed_(parts.links.group, limits_.max_sequences),
      observer_(std::move(parts.observer)) {
  VDIST_CHECK(parts.weights.size() >= network_.plan.bytes, "R-1: the weight region holds the plan");
  VDIST_CHECK(parts.kv.size() >= kv_bytes(network_, limits_),
              "R-1: the KV region holds all blocks");
  VDIST_CHECK(place_.tensor_size == 1 || links_.group != nullptr,
              "R-3: a tensor group has a communicator");
  VDIST_CHECK(place_.is_first_stage() || links_.from_previous != nullptr,
              "R-3: a later stage receives");
  VDIST_CHECK(place_.is_last_stage() || links_.to_next != nullptr, "R-3: an earlier stage sends");
  network_.decoder.prepare(limits_.max_positions);
  for (const auto& weight : network_.plan.weights) {
    weights_.push_back(parts.weights.data() + weight.offset);
  }
  if (samples(place_)) {
    sampler_.emplace(network_.decoder.head->vocabulary);
  }
}

void rank_model::clear() {
  slots_.clear();
}

layers::context rank_model::make_context() const {
  return {.ops = *backend_,
          .group = place_.tensor_size > 1 ? links_.group : nullptr,
          .weights = weights_.data(),
          .space = space_.activations(),
          .token_ids = slots_.token_ids(),
          .positions = slots_.positions(),
          .batch = slots_.batch(),
          .max_position = slots_.max_position(),
          .kv = kv_.data()};
}

result<void> rank_model::execute(const protocol::step_plan& plan, protocol::step_result& out) {
  VDIST_TRY(slots_.apply(plan));
  if (plan.sequences() == 0) {
    return {}; // only retired slots: no rank computes or talks
  }
  const auto in = make_context();
  VDIST_TRY(forward(in));
  out.digest = digest_of_last_rows();
  if (network_.decoder.head) {
    VDIST_TRY(sample_all(in, plan, out));
    VDIST_TRY(feed_.share(plan, out.tokens, slots_));
  }
  return {};
}

result<void> rank_model::forward(const layers::context& in) {
  float* hidden = in.space.hidden;
  const auto count =
      static_cast<std::size_t>(in.tokens()) * static_cast<std::size_t>(network_.decoder.hidden);
  if (place_.is_first_stage()) {
    VDIST_TRY(network_.decoder.embed(in));
  } else {
    VDIST_TRY(links_.from_previous->recv({hidden, count}));
  }
  VDIST_TRY(network_.decoder.run_layers(in));
  if (!place_.is_last_stage()) {
    VDIST_TRY(links_.to_next->send({hidden, count}));
  }
  return {};
}

std::uint64_t rank_model::digest_of_last_rows() {
  const auto rows = slots_.last_rows();
  backend_->gather_rows({.x = space_.activations().hidden,
                         .indices = rows.data(),
                         .y = space_.last_rows(),
                         .rows = static_cast<std::int32_t>(rows.size()),
                         .width = network_.decoder.hidden,
                         .x_stride = network_.decoder.hidden});
  const auto floats = rows.size() * static_cast<std::size_t>(network_.decoder.hidden);
  return XXH3_64bits(space_.last_rows(), floats * sizeof(float));
}

result<void> rank_model::sample_all(const layers::context& in,
                                    const protocol::step_plan& plan,
                                    protocol::step_result& out) {
  const auto rows = static_cast<std::int32_t>(slots_.sampled().size());
  for (std::int32_t first = 0; first < rows; first += space_.logit_rows()) {
    VDIST_TRY(sample_rows(in, plan, first, std::min(space_.logit_rows(), rows - first), out));
  }
  return {};
}

result<void> rank_model::sample_rows(const layers::context& in,
                                     const protocol::step_plan& plan,
                                     std::int32_t first,
                                     std::int32_t rows,
                                     protocol::step_result& out) {
  const auto& head = *network_.decoder.head;
  backend_->gather_rows({.x = in.space.hidden,
                         .indices = slots_.sampled_rows().data() + first,
                         .y = space_.head_rows(),
                         .rows = rows,
                         .width = network_.decoder.hidden,
                         .x_stride = network_.decoder.hidden});
  VDIST_TRY(head.forward(in, space_.head_rows(), rows, space_.logits()));
  if (!sampler_) {
    return {};
  }
  for (std::int32_t i = 0; i < rows; ++i) {
    const auto sequence =
        static_cast<std::size_t>(slots_.sampled()[static_cast<std::size_t>(first + i)]);
    VDIST_TRY(sample_one(plan.slots[sequence], head.row(in, space_.logits(), rows, i), out));
  }
  return {};
}

result<void>
rank_model::sample_one(std::uint32_t slot, std::span<float> logits, protocol::step_result& out) {
  const auto sequence = slots_.view(slot);
  const auto position = static_cast<std::int32_t>(sequence.tokens.size());
  if (has_nan(logits)) {
    return fail(errc::internal,
                fmt::format("sample: the logits are not numbers (request={} position={})",
                            sequence.request_id,
                            position));
  }
  if (observer_) {
    observer_(sequence.request_id, position, logits);
  }
  const auto top_before = out.top_ids.size();
  const auto choice = sampler_->sample(logits,
                                       {.record = sequence.record,
                                        .tokens = sequence.tokens,
                                        .bias_ids = sequence.bias_ids,
                                        .bias_values = sequence.bias_values,
                                        .suppressed_ids = sequence.suppressed_ids},
                                       out.top_ids,
                                       out.top_logprobs);
  out.slots.push_back(slot);
  out.tokens.push_back(choice.token);
  out.logprobs.push_back(choice.logprob);
  out.top_counts.push_back(static_cast<std::int32_t>(out.top_ids.size() - top_before));
  return {};
}

} // namespace vdist::exec
