#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::sched {

namespace {

error refuse_result(errc code, std::string_view cause, const protocol::step_result& result) {
  return fail(
      code,
      fmt::format(
          "commit: {} (step={} epoch={} rank={})", cause, result.step, result.epoch, result.rank));
}

/// Whether the columns of alternatives agree with each other and with `samples` sequences.
bool are_alternatives_consistent(const protocol::step_result& result, std::size_t samples) {
  if (!result.top_counts.empty() && result.top_counts.size() != samples) {
    return false;
  }
  std::size_t total = 0;
  for (const auto count : result.top_counts) {
    if (count < 0) {
      return false;
    }
    total += static_cast<std::size_t>(count);
  }
  return result.top_ids.size() == total && result.top_logprobs.size() == total;
}

} // namespace

result<void> scheduler::check_result(const protocol::step_result& result) const {
  if (result.epoch < epoch_.value) {
    return refuse_result(errc::stale, "the epoch is over", result);
  }
  if (result.epoch > epoch_.value) {
    return refuse_result(errc::corrupt, "the epoch has not begun", result);
  }
  if (window_.size() == 0 || result.step < window_.oldest().step.value) {
    return last_step_ && result.step <= last_step_->value
               ? refuse_result(errc::stale, "the step is over", result)
               : refuse_result(errc::corrupt, "the step was never planned", result);
  }
  const auto& record = window_.oldest();
  if (result.step != record.step.value) {
    return refuse_result(errc::corrupt, "an older step has to be committed first", result);
  }
  if (result.status != static_cast<std::int16_t>(errc::ok)) {
    return refuse_result(
        errc::aborted, fmt::format("the worker reports an error: {}", result.message), result);
  }
  if (result.slots.size() != record.samples || result.tokens.size() != record.samples
      || (!result.logprobs.empty() && result.logprobs.size() != record.samples)
      || !are_alternatives_consistent(result, record.samples)) {
    return refuse_result(errc::corrupt, "columns do not fit the plan", result);
  }
  std::size_t sample = 0;
  for (const auto& entry : record.entries) {
    if (!entry.samples) {
      continue;
    }
    const auto token = result.tokens[sample];
    if (result.slots[sample] != entry.owner->slot || token < 0
        || (config_.vocabulary > 0 && token >= config_.vocabulary)) {
      return refuse_result(errc::corrupt, "a slot or token does not fit the plan", result);
    }
    ++sample;
  }
  return {};
}

result<void> scheduler::commit(const protocol::step_result& result,
                               std::vector<protocol::token_event>& out) {
  VDIST_TRY(check_result(result));
  if (repeated_ > 0) { // S-13
    to_repeat_.pop_front();
    --repeated_;
  }
  result_cursor at;
  for (const auto& entry : window_.oldest().entries) {
    commit_entry(entry, result, at, out);
  }
  commit_saves(window_.oldest());
  window_.close_oldest();
  flush(out);
  return {};
}

void scheduler::commit_entry(const step_entry& entry,
                             const protocol::step_result& result,
                             result_cursor& at,
                             std::vector<protocol::token_event>& out) {
  auto& owner = *entry.owner;
  const auto sample = at.sample;
  const auto first_top = at.top;
  if (entry.samples) {
    ++at.sample;
    at.top += result.top_counts.empty() ? 0 : static_cast<std::size_t>(result.top_counts[sample]);
  }
  --owner.steps_in_flight;
  if (owner.state == sequence_state::over) {
    counters_.tokens_dropped += entry.samples ? 1U : 0U;
    if (!owner.is_in_flight()) {
      remove(owner);
    }
    return;
  }
  counters_.tokens_loaded += static_cast<std::uint64_t>(owner.loading);
  owner.computed += std::exchange(owner.loading, 0) + entry.count;
  publish_blocks(owner);
  if (table_ != nullptr) { // T-4
    if (std::int64_t{owner.blocks_recorded} * config_.block_size < owner.computed) {
      record_blocks(owner);
    }
    table_->publish(owner.slot, owner.computed);
  }
  if (!entry.samples) {
    return;
  }
  auto& event = out.emplace_back();
  event.id = owner.id;
  event.position = owner.generated();
  event.token = result.tokens[sample];
  event.logprob = result.logprobs.empty() ? 0.0F : result.logprobs[sample];
  for (auto i = first_top; i < at.top; ++i) {
    event.top.push_back({result.top_ids[i], result.top_logprobs[i]});
  }
  ++counters_.tokens_sampled;
  owner.tokens.push_back(event.token);
  --owner.samples_ahead;
  acquit(owner);
  event.reason = owner.stop_reason();
  if (event.reason == protocol::finish_reason::none) {
    return;
  }
  event.stop_token = event.reason == protocol::finish_reason::stop ? event.token : -1;
  end(owner);
}

void scheduler::publish_blocks(sequence& written) {
  if (!config_.prefix_cache) {
    return;
  }
  const auto size = static_cast<std::size_t>(config_.block_size);
  const auto full = written.computed / config_.block_size;
  for (; written.blocks_published < full; ++written.blocks_published) {
    const auto index = static_cast<std::size_t>(written.blocks_published);
    written.node = pool_.publish(
        written.node, std::span(written.tokens).subspan(index * size, size), written.blocks[index]);
  }
}

} // namespace vdist::sched
