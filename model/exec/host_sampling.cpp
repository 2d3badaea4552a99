// Where the host chooses the tokens of a step: logits into its memory, one row after the other to the sampler.
#include "model/exec/rank_model.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::exec {

namespace {

bool has_nan(std::span<const float> values) {
  std::int32_t found = 0;
  for (const float value : values) {
    found |= static_cast<std::int32_t>(value != value);
  }
  return found != 0;
}

} // namespace

error rank_model::not_numbers(std::uint64_t request_id, std::int32_t position) {
  return fail(errc::internal,
              fmt::format("sample: the logits are not numbers (request={} position={})",
                          request_id,
                          position));
}

result<void> rank_model::sample_on_host(const layers::context& in,
                                        const step_arrays& arrays,
                                        const protocol::step_plan& plan,
                                        protocol::step_result& out) {
  const auto& head = *network_.decoder.head;
  const auto all = static_cast<std::int32_t>(slots_.sampled().size());
  for (std::int32_t first = 0; first < all; first += head_space_.logit_rows()) {
    const auto rows = std::min(head_space_.logit_rows(), all - first);
    VDIST_ASSIGN(float* logits, head_logits(in, arrays, first, rows));
    if (!sampler_) {
      continue;
    }
    VDIST_ASSIGN(logits, in_host_memory(plan.step, logits, head.logit_floats(in, rows)));
    for (std::int32_t i = 0; i < rows; ++i) {
      const auto sequence =
          static_cast<std::size_t>(slots_.sampled()[static_cast<std::size_t>(first + i)]);
      VDIST_TRY(sample_one(plan.slots[sequence], head.row(in, logits, i), out));
    }
  }
  return {};
}

result<float*> rank_model::in_host_memory(std::uint64_t step, float* logits, std::size_t count) {
  if (queue_.is_host_memory()) {
    return logits;
  }
  const auto bytes = count * sizeof(float);
  if (bytes > logits_bytes_) { // once: rows and ranks are bounded
    logits_ = device_memory();
    logits_bytes_ = bytes;
    logits_ = device_memory(queue_, bytes, memory_place::staging);
  }
  queue_.copy_out(logits_.data(), logits, bytes);
  VDIST_TRY(wait_in_step(step, queue_.mark(), std::chrono::steady_clock::now() + step_deadline_));
  VDIST_TRY(links_.status());
  return logits_.as<float>();
}

result<void>
rank_model::sample_one(std::uint32_t slot, std::span<float> logits, protocol::step_result& out) {
  const auto sequence = slots_.view(slot);
  const auto position = sequence.length;
  if (has_nan(logits)) {
    return not_numbers(sequence.request_id, position);
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
