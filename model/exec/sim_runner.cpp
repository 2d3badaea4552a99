#include "model/exec/sim_runner.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <thread>

namespace vdist::exec {

namespace {

constexpr std::size_t hidden_numbers = 4;
constexpr unsigned number_bits = 20; // sums of 8 ranks stay below 2^24: exact in float32

/// Finaliser of splitmix64 (Steele, Lea & Flood 2014): every input bit reaches every output bit.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) { return mix(mix(a) ^ (b * 0xff51afd7ed558ccd)); }

void unpack(std::uint64_t hash, float* numbers) {
  for (std::size_t i = 0; i < hidden_numbers; ++i) {
    numbers[i] = static_cast<float>(mix(hash, i) >> (64 - number_bits));
  }
}

std::uint64_t pack(const float* numbers) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < hidden_numbers; ++i) {
    hash = mix(hash, static_cast<std::uint64_t>(numbers[i]));
  }
  return hash;
}

slot_table_config table_of(const sim_runner_config& config) {
  return {.slots = static_cast<std::uint32_t>(config.limits.max_sequences),
          .max_positions = config.limits.max_positions,
          .block_size = config.limits.block_size,
          .max_batch_tokens = config.limits.max_batch_tokens,
          .tokens = token_memory::keep};
}

} // namespace

sim_runner::sim_runner(const sim_runner_config& config, peers links, vault::vault& memory)
    : config_(config), links_(links), vault_(memory), slots_(table_of(config)),
      hidden_(static_cast<std::size_t>(config.limits.max_batch_tokens) * hidden_numbers) {}

result<void> sim_runner::load(const load_progress& progress) {
  const auto entries = static_cast<std::size_t>(config_.limits.blocks) * static_cast<std::size_t>(config_.limits.block_size);
  VDIST_ASSIGN(auto region, vault_.map({.rank = config_.rank, .kind = vault::region_kind::kv_cache}, entries * sizeof(std::uint64_t)));
  kv_ = reinterpret_cast<std::uint64_t*>(region.memory.data());
  if (progress) {
    progress(1, 1);
  }
  return {};
}

result<void> sim_runner::start_epoch(epoch now) {
  slots_.clear();
  if (links_.group != nullptr) {
    VDIST_TRY(links_.group->start_epoch(now));
  }
  if (links_.from_previous != nullptr) {
    VDIST_TRY(links_.from_previous->start_epoch(now));
  }
  if (links_.to_next != nullptr) {
    VDIST_TRY(links_.to_next->start_epoch(now));
  }
  return {};
}

result<void> sim_runner::execute(const protocol::step_plan& plan, protocol::step_result& out) {
  out.clear();
  VDIST_TRY(slots_.apply(plan));
  const auto tokens = static_cast<std::size_t>(slots_.batch().tokens);
  const std::span<float> hidden(hidden_.data(), tokens * hidden_numbers);
  if (links_.from_previous != nullptr) {
    VDIST_TRY(links_.from_previous->recv(hidden));
  } else {
    embed();
  }
  for (std::size_t sequence = 0; sequence < plan.sequences(); ++sequence) {
    attend(sequence);
  }
  if (links_.group != nullptr) {
    VDIST_TRY(links_.group->all_reduce_sum(hidden));
  }
  advance_hidden();
  const auto pause = config_.step_time + static_cast<double>(tokens) * config_.token_time;
  if (pause.count() > 0) {
    std::this_thread::sleep_for(pause);
  }
  if (links_.to_next != nullptr) {
    VDIST_TRY(links_.to_next->send(hidden));
  }
  for (const auto row : slots_.last_rows()) {
    out.digest = mix(out.digest, pack(&hidden_[static_cast<std::size_t>(row) * hidden_numbers]));
  }
  if (config_.place.is_last_stage() && config_.place.tensor_rank == 0) {
    sample(plan, out);
  }
  return {};
}

void sim_runner::embed() {
  const auto& batch = slots_.batch();
  for (std::int32_t t = 0; t < batch.tokens; ++t) {
    const auto token = static_cast<std::uint64_t>(slots_.token_ids()[t]);
    const auto position = static_cast<std::uint64_t>(slots_.positions()[t]);
    unpack(mix(token, position), &hidden_[static_cast<std::size_t>(t) * hidden_numbers]);
  }
}

std::uint64_t& sim_runner::kv_entry(std::size_t sequence, std::int32_t position) {
  const auto& batch = slots_.batch();
  const auto size = config_.limits.block_size;
  const auto* table = batch.block_tables + static_cast<std::int64_t>(sequence) * batch.block_table_stride;
  const auto block = static_cast<std::int64_t>(table[position / size]);
  return kv_[block * size + position % size];
}

/// Leaves this rank's shares of the sequence's tokens in hidden_.
void sim_runner::attend(std::size_t sequence) {
  const auto& batch = slots_.batch();
  const auto place = mix(static_cast<std::uint64_t>(config_.place.stage), static_cast<std::uint64_t>(config_.place.tensor_rank));
  std::uint64_t seen = 0;
  const auto first = batch.first_position[sequence];
  for (std::int32_t position = 0; position < first; ++position) {
    seen += mix(kv_entry(sequence, position), static_cast<std::uint64_t>(position));
  }
  for (auto t = batch.query_start[sequence]; t < batch.query_start[sequence + 1]; ++t) {
    const auto position = first + (t - batch.query_start[sequence]);
    float* numbers = &hidden_[static_cast<std::size_t>(t) * hidden_numbers];
    auto& entry = kv_entry(sequence, position);
    entry = mix(mix(pack(numbers), static_cast<std::uint64_t>(position)), place);
    seen += mix(entry, static_cast<std::uint64_t>(position));
    unpack(mix(seen, place), numbers);
  }
}

/// The summed shares of all ranks become the next hidden state.
void sim_runner::advance_hidden() {
  const auto tokens = static_cast<std::size_t>(slots_.batch().tokens);
  for (std::size_t t = 0; t < tokens; ++t) {
    float* numbers = &hidden_[t * hidden_numbers];
    unpack(pack(numbers), numbers);
  }
}

void sim_runner::sample(const protocol::step_plan& plan, protocol::step_result& out) {
  const auto rows = slots_.sampled_rows();
  const auto places = slots_.sampled();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto slot = plan.slots[static_cast<std::size_t>(places[i])];
    const auto view = slots_.view(slot);
    const auto generated = view.tokens.size() - static_cast<std::size_t>(view.record.prompt_tokens);
    const auto hidden = pack(&hidden_[static_cast<std::size_t>(rows[i]) * hidden_numbers]);
    auto hash = mix(mix(hidden, view.record.seed), generated);
    auto token = static_cast<token_id>(hash % static_cast<std::uint64_t>(config_.vocabulary));
    const bool may_not_end = static_cast<std::int64_t>(generated) < view.record.min_tokens;
    while (may_not_end && std::find(view.suppressed_ids.begin(), view.suppressed_ids.end(), token) != view.suppressed_ids.end()) {
      hash = mix(hash);
      token = static_cast<token_id>(hash % static_cast<std::uint64_t>(config_.vocabulary));
    }
    out.slots.push_back(slot);
    out.tokens.push_back(token);
    out.logprobs.push_back(view.record.logprobs >= 0 ? 0.0F : std::numeric_limits<float>::quiet_NaN());
    out.top_counts.push_back(0);
  }
}

} // namespace vdist::exec
