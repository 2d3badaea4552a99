#include "model/exec/slot_table.hpp"

#include <algorithm>
#include <cstddef>
#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace vdist::exec {

namespace {

error refused(const protocol::step_plan& plan, std::string_view cause, std::size_t index) {
  return fail(errc::corrupt,
              fmt::format("step plan: {} (step={} slot={} request={})",
                          cause,
                          plan.step,
                          plan.slots[index],
                          plan.request_ids[index]));
}

/// Room for `count` integers that the operating system hands out only where they are written.
std::unique_ptr<std::int32_t[]> reserve_array(std::size_t count) {
  return std::unique_ptr<std::int32_t[]>(new std::int32_t[count]);
}

} // namespace

struct slot_table::cursor {
  std::size_t blocks = 0;
  std::size_t tokens = 0;
  std::size_t records = 0;
  std::size_t biases = 0;
  std::size_t suppressed = 0;
};

slot_table::slot_table(const slot_table_config& config)
    : config_(config),
      blocks_per_sequence_((config.max_positions + config.block_size - 1) / config.block_size),
      slots_(config.slots),
      slot_blocks_(reserve_array(std::size_t{config.slots}
                                 * static_cast<std::size_t>(blocks_per_sequence_))) {
  if (config.tokens == token_memory::keep) {
    slot_tokens_ =
        reserve_array(std::size_t{config.slots} * static_cast<std::size_t>(config.max_positions));
  }
  token_ids_.reserve(static_cast<std::size_t>(config.max_batch_tokens));
  positions_.reserve(static_cast<std::size_t>(config.max_batch_tokens));
  token_slots_.reserve(static_cast<std::size_t>(config.max_batch_tokens));
  table_rows_.reserve(config.slots);
  query_start_.reserve(std::size_t{config.slots} + 1);
  first_positions_.reserve(config.slots);
  last_rows_.reserve(config.slots);
  sampled_.reserve(config.slots);
  sampled_rows_.reserve(config.slots);
}

void slot_table::clear() {
  for (auto& sequence : slots_) {
    sequence.is_active = false;
  }
}

result<void> slot_table::apply(const protocol::step_plan& plan) {
  if (plan.computed_tokens() > config_.max_batch_tokens) {
    return fail(errc::corrupt,
                fmt::format("step plan: more tokens than the worker has room for (step={} "
                            "tokens={} max_batch_tokens={})",
                            plan.step,
                            plan.computed_tokens(),
                            config_.max_batch_tokens));
  }
  for (const auto slot : plan.retired_slots) {
    slots_[slot].is_active = false;
  }
  ++stamp_;
  token_ids_.clear();
  positions_.clear();
  token_slots_.clear();
  table_rows_.clear();
  new_blocks_.rows.clear();
  new_blocks_.columns.clear();
  new_blocks_.blocks.clear();
  query_start_.assign(1, 0);
  first_positions_.clear();
  last_rows_.clear();
  sampled_.clear();
  sampled_rows_.clear();
  max_position_ = 0;
  cursor at;
  for (std::size_t i = 0; i < plan.sequences(); ++i) {
    VDIST_TRY(take_sequence(plan, i, at));
  }
  std::int32_t longest_query = 0;
  for (const auto count : plan.token_counts) {
    longest_query = std::max(longest_query, count);
  }
  batch_ = {.query_start = query_start_.data(),
            .first_position = first_positions_.data(),
            .table_rows = table_rows_.data(),
            .block_tables = slot_blocks_.get(),
            .block_table_stride = blocks_per_sequence_,
            .sequences = static_cast<std::int32_t>(plan.sequences()),
            .tokens = static_cast<std::int32_t>(token_ids_.size()),
            .longest_query = longest_query};
  return {};
}

result<void>
slot_table::take_sequence(const protocol::step_plan& plan, std::size_t index, cursor& at) {
  auto& sequence = slots_[plan.slots[index]];
  if (sequence.stamp == stamp_) {
    return refused(plan, "a slot is named twice", index);
  }
  sequence.stamp = stamp_;
  if ((plan.flags[index] & protocol::flag_new) != 0) {
    start_sequence(plan, index, sequence, at);
  } else if (!sequence.is_active) {
    return refused(plan, "a slot continues that holds no sequence", index);
  } else if (sequence.length != plan.first_position[index]) {
    return refused(plan, "a sequence does not continue where it ended", index);
  }
  VDIST_TRY(take_blocks(plan, index, sequence, at));
  return take_tokens(plan, index, sequence, at);
}

void slot_table::start_sequence(const protocol::step_plan& plan,
                                std::size_t index,
                                sequence& into,
                                cursor& at) {
  const auto& record = plan.sampling[at.records++];
  const auto biases = static_cast<std::size_t>(record.bias_count);
  const auto suppressed = static_cast<std::size_t>(record.suppressed_count);
  into.is_active = true;
  into.request_id = plan.request_ids[index];
  into.length = 0;
  into.fed = protocol::fed_token;
  into.blocks = 0;
  into.record = record;
  const auto bias_ids = std::span(plan.bias_ids).subspan(at.biases, biases);
  const auto bias_values = std::span(plan.bias_values).subspan(at.biases, biases);
  const auto suppressed_ids = std::span(plan.suppressed_ids).subspan(at.suppressed, suppressed);
  into.bias_ids.assign(bias_ids.begin(), bias_ids.end());
  into.bias_values.assign(bias_values.begin(), bias_values.end());
  into.suppressed_ids.assign(suppressed_ids.begin(), suppressed_ids.end());
  at.biases += biases;
  at.suppressed += suppressed;
}

result<void> slot_table::take_blocks(const protocol::step_plan& plan,
                                     std::size_t index,
                                     sequence& into,
                                     cursor& at) {
  const auto added = plan.block_counts[index];
  const auto positions = plan.first_position[index] + plan.token_counts[index];
  if (added > blocks_per_sequence_ - into.blocks) {
    return refused(plan, "a sequence has more blocks than positions", index);
  }
  if (std::int64_t{into.blocks + added} * config_.block_size < positions) {
    return refused(plan, "a sequence has too few blocks", index);
  }
  auto* table = slot_blocks_.get()
                + std::size_t{plan.slots[index]} * static_cast<std::size_t>(blocks_per_sequence_);
  std::copy_n(plan.new_blocks.data() + at.blocks, added, table + into.blocks);
  for (std::int32_t i = 0; i < added; ++i) {
    new_blocks_.rows.push_back(static_cast<std::int32_t>(plan.slots[index]));
    new_blocks_.columns.push_back(into.blocks + i);
    new_blocks_.blocks.push_back(table[into.blocks + i]);
  }
  into.blocks += added;
  at.blocks += static_cast<std::size_t>(added);
  return {};
}

result<void> slot_table::take_tokens(const protocol::step_plan& plan,
                                     std::size_t index,
                                     sequence& into,
                                     cursor& at) {
  const auto first = plan.first_position[index];
  const auto count = plan.token_counts[index];
  const token_id* given = plan.tokens.data() + at.tokens; // from position into.length on
  const auto given_count = first + count - into.length;
  const auto fed = std::exchange(into.fed, protocol::fed_token);
  if (*given == protocol::fed_token) {
    if (fed == protocol::fed_token) {
      return refused(plan, "a token is fed that the slot's last step did not sample", index);
    }
    if (fed != token_on_device) {
      given = &fed;
    }
  }
  if (slot_tokens_) {
    auto* tokens =
        slot_tokens_.get()
        + std::size_t{plan.slots[index]} * static_cast<std::size_t>(config_.max_positions);
    std::copy_n(given, given_count, tokens + into.length);
  }
  add_to_batch(plan, index, given + (first - into.length));
  at.tokens += static_cast<std::size_t>(given_count);
  into.length = first + count;
  return {};
}

void slot_table::add_to_batch(const protocol::step_plan& plan,
                              std::size_t index,
                              const token_id* tokens) {
  const auto first = plan.first_position[index];
  const auto count = plan.token_counts[index];
  token_ids_.insert(token_ids_.end(), tokens, tokens + count);
  for (std::int32_t i = 0; i < count; ++i) {
    positions_.push_back(first + i);
    token_slots_.push_back(static_cast<std::int32_t>(plan.slots[index]));
  }
  const auto end = static_cast<std::int32_t>(token_ids_.size());
  first_positions_.push_back(first);
  table_rows_.push_back(static_cast<std::int32_t>(plan.slots[index]));
  query_start_.push_back(end);
  last_rows_.push_back(end - 1);
  if ((plan.flags[index] & protocol::flag_samples) != 0) {
    sampled_.push_back(static_cast<std::int32_t>(index));
    sampled_rows_.push_back(end - 1);
  }
  max_position_ = std::max(max_position_, first + count);
}

void slot_table::resolve(std::uint32_t slot,
                         std::uint64_t request_id,
                         std::int32_t position,
                         token_id token) {
  auto& sequence = slots_[slot];
  if (!sequence.is_active || sequence.request_id != request_id) {
    return;
  }
  if (position == sequence.length && sequence.fed == token_on_device) {
    sequence.fed = token; // the next plan comes later than the token
  } else if (slot_tokens_ && position < sequence.length) {
    slot_tokens_[std::size_t{slot} * static_cast<std::size_t>(config_.max_positions)
                 + static_cast<std::size_t>(position)] = token;
  }
}

slot_view slot_table::view(std::uint32_t slot) const {
  const auto& sequence = slots_[slot];
  std::span<const token_id> tokens;
  if (slot_tokens_) {
    tokens = {slot_tokens_.get()
                  + std::size_t{slot} * static_cast<std::size_t>(config_.max_positions),
              static_cast<std::size_t>(sequence.length)};
  }
  return {.request_id = sequence.request_id,
          .record = sequence.record,
          .length = sequence.length,
          .tokens = tokens,
          .bias_ids = sequence.bias_ids,
          .bias_values = sequence.bias_values,
          .suppressed_ids = sequence.suppressed_ids};
}

} // namespace vdist::exec
