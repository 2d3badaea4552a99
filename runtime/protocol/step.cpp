#include "runtime/protocol/step.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace vdist::protocol {

void step_plan::clear() {
  step = 0;
  epoch = 0;
  slots.clear();
  request_ids.clear();
  flags.clear();
  first_position.clear();
  token_counts.clear();
  block_counts.clear();
  new_blocks.clear();
  tokens.clear();
  retired_slots.clear();
  sampling.clear();
  bias_ids.clear();
  bias_values.clear();
  suppressed_ids.clear();
  saves.clear();
  loads.clear();
}

std::int64_t step_plan::computed_tokens() const {
  return std::accumulate(token_counts.begin(), token_counts.end(), std::int64_t{0});
}

void step_result::clear() {
  step = 0;
  epoch = 0;
  rank = 0;
  status = 0;
  digest = 0;
  compute_us = 0;
  slots.clear();
  tokens.clear();
  logprobs.clear();
  top_counts.clear();
  top_ids.clear();
  top_logprobs.clear();
  message.clear();
  saved_step = 0;
}

namespace {

/// What one sequence takes out of the flattened columns.
struct plan_cursor {
  std::size_t blocks = 0;
  std::size_t tokens = 0;
  std::size_t records = 0;
  std::size_t biases = 0;
  std::size_t suppressed = 0;
  std::ptrdiff_t fed = 0; // tokens that are fed_token, as they may be
};

error corrupt_plan(const step_plan& plan, std::string_view cause, std::size_t sequence) {
  return fail(errc::corrupt,
              fmt::format("step plan: {} (step={} sequence={})", cause, plan.step, sequence));
}

result<void> validate_record(const step_plan& plan, std::size_t i, plan_cursor& at) {
  if (at.records >= plan.sampling.size()) {
    return corrupt_plan(plan, "a new sequence has no sampling record", i);
  }
  const auto& record = plan.sampling[at.records++];
  if (record.bias_count < 0 || record.suppressed_count < 0) {
    return corrupt_plan(plan, "negative count in a sampling record", i);
  }
  at.biases += static_cast<std::size_t>(record.bias_count);
  at.suppressed += static_cast<std::size_t>(record.suppressed_count);
  return {};
}

result<void> validate_sequence(const step_plan& plan,
                               const plan_limits& limits,
                               std::size_t i,
                               plan_cursor& at) {
  const auto first = plan.first_position[i];
  const auto count = plan.token_counts[i];
  const auto blocks = plan.block_counts[i];
  const bool is_new = (plan.flags[i] & flag_new) != 0;
  if (plan.slots[i] >= limits.slots) {
    return corrupt_plan(plan, "slot out of range", i);
  }
  if (first < 0 || count < 1 || blocks < 0 || first > limits.max_positions - count) {
    return corrupt_plan(plan, "position or count out of range", i);
  }
  const auto needed = (first + count + limits.block_size - 1) / limits.block_size;
  if (is_new ? blocks < needed : blocks > needed) {
    return corrupt_plan(plan, "blocks do not fit the positions", i);
  }
  if ((plan.flags[i] & flag_feeds) != 0 && (plan.flags[i] & flag_samples) == 0) {
    return corrupt_plan(plan, "a sequence feeds and does not sample", i);
  }
  if (!is_new && count == 1 && at.tokens < plan.tokens.size()
      && plan.tokens[at.tokens] == fed_token) {
    ++at.fed;
  }
  at.blocks += static_cast<std::size_t>(blocks);
  at.tokens += static_cast<std::size_t>(is_new ? first + count : count);
  if (is_new) {
    VDIST_TRY(validate_record(plan, i, at));
  }
  return {};
}

template <class Column, class Limit>
bool all_in_range(const Column& column, Limit limit) {
  for (const auto value : column) {
    if (value < 0 || value >= limit) {
      return false;
    }
  }
  return true;
}

std::ptrdiff_t count_outside(const std::vector<token_id>& tokens, std::int32_t vocabulary) {
  return std::count_if(tokens.begin(), tokens.end(), [vocabulary](token_id token) {
    return token < 0 || token >= vocabulary;
  });
}

bool are_in_range(const std::vector<block_copy>& copies, const plan_limits& limits) {
  return std::all_of(copies.begin(), copies.end(), [&limits](const block_copy& copy) {
    return copy.block >= 0 && copy.block < limits.blocks && copy.slot >= 0
           && copy.slot < limits.store_slots;
  });
}

/// P-10, P-11.
result<void> validate_copies(const step_plan& plan, const plan_limits& limits) {
  if (plan.saves.empty() && plan.loads.empty()) {
    return {};
  }
  if (plan.saves.size() > static_cast<std::size_t>(limits.saves_max)
      || plan.loads.size() > static_cast<std::size_t>(limits.blocks)) {
    return corrupt_plan(plan, "too many blocks are saved or loaded", plan.sequences());
  }
  if (!are_in_range(plan.saves, limits) || !are_in_range(plan.loads, limits)) {
    return corrupt_plan(
        plan, "a block that is saved or loaded, or its slot, is out of range", plan.sequences());
  }
  return {};
}

} // namespace

result<void> validate(const step_plan& plan, const plan_limits& limits) {
  const auto n = plan.slots.size();
  if (plan.request_ids.size() != n || plan.flags.size() != n || plan.first_position.size() != n
      || plan.token_counts.size() != n || plan.block_counts.size() != n) {
    return corrupt_plan(plan, "columns differ in length", n);
  }
  if (limits.block_size <= 0) {
    return fail(errc::internal, "step plan: block size must be positive");
  }
  plan_cursor at;
  for (std::size_t i = 0; i < n; ++i) {
    VDIST_TRY(validate_sequence(plan, limits, i, at));
  }
  if (at.blocks != plan.new_blocks.size() || at.tokens != plan.tokens.size()
      || at.records != plan.sampling.size() || at.biases != plan.bias_ids.size()
      || plan.bias_ids.size() != plan.bias_values.size()
      || at.suppressed != plan.suppressed_ids.size()) {
    return corrupt_plan(plan, "flattened columns do not add up", n);
  }
  for (const auto slot : plan.retired_slots) {
    if (slot >= limits.slots) {
      return corrupt_plan(plan, "retired slot out of range", n);
    }
  }
  if (!all_in_range(plan.new_blocks, limits.blocks)
      || !all_in_range(plan.bias_ids, limits.vocabulary)) {
    return corrupt_plan(plan, "block or token id out of range", n);
  }
  if (count_outside(plan.tokens, limits.vocabulary) != at.fed) {
    return corrupt_plan(plan, "token id out of range, or fed where it must be known", n);
  }
  return validate_copies(plan, limits);
}

} // namespace vdist::protocol
