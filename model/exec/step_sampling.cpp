// Who chooses the tokens of a step, and how they come to whoever asks for them. A row is the device's where nothing but its
// own logits decides, and the host's where penalties, biases or log probabilities are wanted: by what its request asks for,
// whatever the others of its batch ask for.
#include "model/exec/rank_model.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <span>

namespace vdist::exec {

namespace {

/// What the device needs to know about how a sequence samples, if that is all that there is to know.
std::optional<kernels::sampling_row> plain_sampling(const slot_view& sequence, std::int32_t slot) {
  const auto& record = sequence.record;
  const auto generated = sequence.length - record.prompt_tokens;
  const bool is_penalised = record.repetition_penalty != 1 || record.presence_penalty != 0
                            || record.frequency_penalty != 0;
  const bool is_suppressed = !sequence.suppressed_ids.empty() && generated < record.min_tokens;
  if (record.logprobs >= 0 || is_penalised || is_suppressed || !sequence.bias_ids.empty()) {
    return std::nullopt;
  }
  return kernels::sampling_row{.seed = record.seed,
                               .position = static_cast<std::uint64_t>(generated),
                               .temperature = record.temperature,
                               .top_p = record.top_p,
                               .min_p = record.min_p,
                               .top_k = record.top_k,
                               .slot = slot};
}

constexpr kernels::sampling_row row_of_the_host{.slot = -1}; // the device leaves it alone

bool is_of_the_host(const kernels::sampling_row& row) {
  return row.slot < 0;
}

bool has_nan(std::span<const float> values) {
  std::int32_t found = 0;
  for (const float value : values) {
    found |= static_cast<std::int32_t>(value != value);
  }
  return found != 0;
}

/// Of a position whose logits have no largest one.
error not_numbers(std::uint64_t request_id, std::int32_t position) {
  return fail(errc::internal,
              fmt::format("sample: the logits are not numbers (request={} position={})",
                          request_id,
                          position));
}

void put_plain(protocol::step_result& out, std::uint32_t slot, token_id token) {
  out.slots.push_back(slot);
  out.tokens.push_back(token);
  out.logprobs.push_back(std::numeric_limits<float>::quiet_NaN());
  out.top_counts.push_back(0);
}

} // namespace

bool rank_model::device_can_sample() const noexcept {
  return backend_->has_device_sampling() && !observer_;
}

/// Fills sampling_rows_. True: the host has nothing to choose and nothing to wait for, as this stage does not sample, or the
/// device does for every row of the step.
bool rank_model::share_out_rows() {
  sampling_rows_.clear();
  bool is_all_of_the_device = device_can_sample();
  if (network_.decoder.head && is_all_of_the_device) {
    for (const auto place : slots_.sampled()) {
      const auto slot = slots_.batch().table_rows[place];
      const auto row = plain_sampling(slots_.view(static_cast<std::uint32_t>(slot)), slot);
      sampling_rows_.push_back(row.value_or(row_of_the_host));
      is_all_of_the_device = is_all_of_the_device && row.has_value();
    }
  }
  return is_asynchronous() && (!network_.decoder.head || is_all_of_the_device);
}

/// Logits of these of the sampled rows, in device memory.
result<float*> rank_model::head_logits(const layers::context& in,
                                       const step_arrays& arrays,
                                       const row_range& rows) {
  const auto& head = *network_.decoder.head;
  backend_->gather_rows({.x = in.space.hidden,
                         .indices = arrays.sampled_rows + rows.first,
                         .y = head.input(head_space_.head_rows()),
                         .rows = rows.count,
                         .width = network_.decoder.hidden,
                         .x_stride = network_.decoder.hidden});
  VDIST_TRY(head.forward(in, head_space_.head_rows(), rows.count, head_space_.logits()));
  return head.result_of(in, head_space_.logits());
}

/// The tokens of the same rows, but for those of the host, to outputs_; to `fed` too, unless it is null.
void rank_model::sample_rows(const layers::context& in,
                             const step_arrays& arrays,
                             const float* logits,
                             const row_range& rows,
                             token_id* fed) {
  backend_->sample({.logits = logits,
                    .wanted = arrays.sampling + rows.first,
                    .tokens = tokens_behind_digest(outputs_) + rows.first,
                    .fed = fed,
                    .rows = rows.count,
                    .vocabulary = network_.decoder.head->vocabulary,
                    .logits_stride = network_.decoder.head->logits_stride(in)});
}

/// One rank of the group tells the others what it has sampled, so that all go on with the same tokens whatever happens (P-9).
/// All of them sample: they would only wait for it, and their digests then cover hidden rows and tokens (P-6). The logits between
/// them need none: all ranks gather the same ones, and what one of them gets wrong behind that changes its token or nothing.
result<void> rank_model::sample_on_device(const layers::context& in,
                                          const step_arrays& arrays,
                                          const step_shape& shape) {
  for (std::int32_t first = 0; first < shape.samples; first += head_space_.logit_rows()) {
    const row_range rows{first, std::min(head_space_.logit_rows(), shape.samples - first)};
    VDIST_ASSIGN(const float* logits, head_logits(in, arrays, rows));
    sample_rows(in, arrays, logits, rows, fed_.as<token_id>());
  }
  if (in.group == nullptr) {
    return {};
  }
  backend_->digest({.x = reinterpret_cast<const float*>(tokens_behind_digest(outputs_)),
                    .indices = arrays.sampled_rows,
                    .digest = outputs_.as<std::uint64_t>(),
                    .rows = shape.samples,
                    .width = 1,
                    .x_stride = 1,
                    .is_in_order = true,
                    .adds = true});
  const auto bytes = static_cast<std::size_t>(limits_.max_sequences) * sizeof(token_id);
  return in.group->broadcast({fed_.data(), bytes}, sampling_rank);
}

/// The device chooses these tokens; until they are known here, later plans may only ask for them. Ranks that do not
/// sample never learn them.
void rank_model::remember_sampled(const protocol::step_plan& plan, flight& mine) {
  for (const auto place : slots_.sampled()) {
    const auto i = static_cast<std::size_t>(place);
    const auto slot = plan.slots[i];
    if (sampler_) {
      mine.sampled.push_back({slot, plan.request_ids[i], slots_.view(slot).length});
    }
    if ((plan.flags[i] & protocol::flag_feeds) != 0) {
      slots_.feed_on_device(slot);
    }
  }
}

/// Of a step that is done on the device.
result<void> rank_model::take_over_sampled(flight& done) {
  const auto* tokens = tokens_behind_digest(done.outputs);
  for (std::size_t i = 0; i < done.sampled.size(); ++i) {
    const auto& sequence = done.sampled[i];
    if (tokens[i] < 0) {
      return not_numbers(sequence.request_id, sequence.position);
    }
    slots_.resolve(sequence.slot, sequence.request_id, sequence.position, tokens[i]);
    put_plain(done.result, sequence.slot, tokens[i]);
  }
  return {};
}

/// The rest of a step for which the host waits, if this stage samples at all; it is done afterwards.
result<void> rank_model::sample_and_share(const step_arrays& arrays,
                                          const step_shape& shape,
                                          const protocol::step_plan& plan,
                                          flight& mine) {
  if (!queue_.is_host_memory()) {
    send_off(mine, output_bytes(0));
    VDIST_TRY(complete_earlier());
    VDIST_TRY(wait_in_step(plan.step, mine.mark, mine.deadline));
  }
  const auto& digest = queue_.is_host_memory() ? outputs_ : mine.outputs;
  mine.result.digest = *digest.as<std::uint64_t>();
  if (network_.decoder.head) {
    const auto in = make_context(arrays, shape);
    const auto real = static_cast<std::int32_t>(slots_.sampled().size());
    for (std::int32_t first = 0; first < shape.samples; first += head_space_.logit_rows()) {
      const row_range rows{first, std::min(head_space_.logit_rows(), shape.samples - first)};
      VDIST_ASSIGN(float* logits, head_logits(in, arrays, rows)); // of as many as the device alone
      if (sampler_ && first < real) {
        const row_range chosen{first, std::min(rows.count, real - first)};
        VDIST_TRY(sample_together(in, arrays, logits, chosen, plan, mine));
      }
    }
    VDIST_TRY(feed_.share(plan, mine.result.tokens, slots_));
    mine.result.digest += feed_.digest();
  }
  mine.is_done = true;
  return {};
}

/// Each row by whose it is, in the order of the plan.
result<void> rank_model::sample_together(const layers::context& in,
                                         const step_arrays& arrays,
                                         float* logits,
                                         const row_range& rows,
                                         const protocol::step_plan& plan,
                                         flight& mine) {
  std::span<const kernels::sampling_row> wanted;
  if (!sampling_rows_.empty()) {
    wanted =
        std::span(sampling_rows_)
            .subspan(static_cast<std::size_t>(rows.first), static_cast<std::size_t>(rows.count));
    sample_rows(in, arrays, logits, rows, nullptr);
    queue_.copy_out(tokens_behind_digest(mine.outputs) + rows.first,
                    tokens_behind_digest(outputs_) + rows.first,
                    static_cast<std::size_t>(rows.count) * sizeof(token_id));
  }
  VDIST_ASSIGN(logits, in_host_memory(in, logits, rows, wanted, plan.step));
  const auto* tokens = tokens_behind_digest(mine.outputs) + rows.first;
  std::int32_t next = 0; // of the host's
  for (std::int32_t i = 0; i < rows.count; ++i) {
    const auto place =
        static_cast<std::size_t>(slots_.sampled()[static_cast<std::size_t>(rows.first + i)]);
    const auto slot = plan.slots[place];
    if (wanted.empty() || is_of_the_host(wanted[static_cast<std::size_t>(i)])) {
      VDIST_TRY(sample_one(slot, network_.decoder.head->row(in, logits, next++), mine.result));
    } else if (tokens[i] < 0) {
      return not_numbers(plan.request_ids[place], slots_.view(slot).length);
    } else {
      put_plain(mine.result, slot, tokens[i]);
    }
  }
  return {};
}

/// Those of the logits that the host samples, one behind the other; everything before them is done.
result<float*> rank_model::in_host_memory(const layers::context& in,
                                          float* logits,
                                          const row_range& rows,
                                          std::span<const kernels::sampling_row> wanted,
                                          std::uint64_t step) {
  if (queue_.is_host_memory()) {
    return logits;
  }
  const auto bytes = network_.decoder.head->logit_floats(in, 1) * sizeof(float);
  const auto hosts =
      wanted.empty()
          ? static_cast<std::size_t>(rows.count)
          : static_cast<std::size_t>(std::count_if(wanted.begin(), wanted.end(), is_of_the_host));
  if (hosts * bytes > logits_bytes_) { // some times: rows and ranks are bounded
    logits_ = device_memory();
    logits_bytes_ = 0;
    logits_ = device_memory(queue_, std::bit_ceil(hosts) * bytes, memory_place::staging);
    logits_bytes_ = std::bit_ceil(hosts) * bytes;
  }
  auto* to = logits_.data();
  const auto copy = [&](std::size_t first, std::size_t count) {
    queue_.copy_out(to, reinterpret_cast<std::byte*>(logits) + first * bytes, count * bytes);
    to += count * bytes;
  };
  if (wanted.empty()) {
    copy(0, hosts);
  } else {
    for (auto from = wanted.begin(); from != wanted.end();) { // neighbours at once
      const auto begin = std::find_if(from, wanted.end(), is_of_the_host);
      from = std::find_if_not(begin, wanted.end(), is_of_the_host);
      if (begin != from) {
        copy(static_cast<std::size_t>(begin - wanted.begin()),
             static_cast<std::size_t>(from - begin));
      }
    }
  }
  VDIST_TRY(wait_in_step(step, queue_.mark(), wait_.deadline()));
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
