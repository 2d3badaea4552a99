#include "model/exec/sim_runner.hpp"

#include "model/exec/kv_region.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>

namespace vdist::exec {

namespace {

constexpr std::size_t lanes = 4;
constexpr std::size_t hidden_numbers = 2 * lanes; // x, then total
constexpr std::uint64_t lane_mask = 0xffff;
constexpr unsigned lane_bits = 16;

/// Finaliser of splitmix64 (Steele, Lea & Flood 2014): every input bit reaches every output bit.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return mix(mix(a) ^ (b * 0xff51afd7ed558ccd));
}

constexpr std::uint64_t lane(std::uint64_t packed, std::size_t i) {
  return (packed >> (i * lane_bits)) & lane_mask;
}

/// a + factor * b in every lane, modulo 2^16.
constexpr std::uint64_t multiply_add(std::uint64_t a, std::uint64_t b, std::uint64_t factor) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < lanes; ++i) {
    sum |= ((lane(a, i) + factor * lane(b, i)) & lane_mask) << (i * lane_bits);
  }
  return sum;
}

constexpr std::uint64_t minus_one = lane_mask; // as a factor: subtracts

/// The weight of position j in a sum: odd, so that no bit of an entry is lost.
constexpr std::uint64_t weight_of(std::int32_t position) {
  return (mix(static_cast<std::uint64_t>(position)) & lane_mask) | 1;
}

void unpack(std::uint64_t packed, float* numbers) {
  for (std::size_t i = 0; i < lanes; ++i) {
    numbers[i] = static_cast<float>(lane(packed, i));
  }
}

std::uint64_t pack(const float* numbers) {
  std::uint64_t packed = 0;
  for (std::size_t i = 0; i < lanes; ++i) {
    packed |= (static_cast<std::uint64_t>(numbers[i]) & lane_mask) << (i * lane_bits);
  }
  return packed;
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
    : config_(config),
      links_(links),
      vault_(memory),
      slots_(table_of(config)),
      feed_(links.group, config.limits.max_sequences),
      hidden_(static_cast<std::size_t>(config.limits.max_batch_tokens) * hidden_numbers),
      shares_(static_cast<std::size_t>(config.limits.max_batch_tokens) * lanes) {}

result<void> sim_runner::load(const load_progress& progress) {
  const auto entries = static_cast<std::size_t>(config_.limits.blocks)
                       * static_cast<std::size_t>(config_.limits.block_size);
  VDIST_ASSIGN(auto region, map_kv(vault_, config_.rank, entries * sizeof(std::uint64_t), true));
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

result<void> sim_runner::launch(const protocol::step_plan& plan) {
  auto& out = result_;
  out.clear();
  out.step = plan.step;
  out.epoch = plan.epoch;
  VDIST_TRY(slots_.apply(plan));
  const auto tokens = static_cast<std::size_t>(slots_.batch().tokens);
  const std::span<float> hidden(hidden_.data(), tokens * hidden_numbers);
  if (links_.from_previous != nullptr) {
    VDIST_TRY(links_.from_previous->recv(hidden));
  } else {
    embed();
  }
  const auto begun = std::chrono::steady_clock::now();
  for (std::size_t sequence = 0; sequence < plan.sequences(); ++sequence) {
    attend(sequence);
  }
  if (links_.group != nullptr) {
    VDIST_TRY(links_.group->all_reduce_sum(std::span<float>(shares_.data(), tokens * lanes)));
  }
  add_shares();
  if (std::exchange(flips_bit_, false) && !slots_.last_rows().empty()) {
    float& number = *total_of(slots_.last_rows().front());
    number = static_cast<float>(static_cast<std::uint64_t>(number) ^ 1U);
  }
  const auto pause = config_.step_time + static_cast<double>(tokens) * config_.token_time;
  if (pause.count() > 0) { // the bookkeeping above is part of it
    std::this_thread::sleep_until(
        begun + std::chrono::duration_cast<std::chrono::steady_clock::duration>(pause));
  }
  if (links_.to_next != nullptr) {
    VDIST_TRY(links_.to_next->send(hidden));
  }
  for (const auto row : slots_.last_rows()) {
    out.digest = mix(out.digest, pack(total_of(row)));
  }
  if (!config_.place.is_last_stage()) {
    return {};
  }
  if (config_.place.tensor_rank == 0) {
    sample(plan, out);
  }
  VDIST_TRY(feed_.share(plan, out.tokens, slots_));
  out.digest += feed_.digest();
  return {};
}

result<void> sim_runner::finish(protocol::step_result& out) {
  out = result_; // a copy: both keep their memory
  return {};
}

result<void> sim_runner::disturb(disturbance what) {
  if (what != disturbance::flip_bit) {
    return step_runner::disturb(what);
  }
  flips_bit_ = true;
  return {};
}

float* sim_runner::x_of(std::int32_t token) {
  return &hidden_[static_cast<std::size_t>(token) * hidden_numbers];
}

float* sim_runner::total_of(std::int32_t token) {
  return x_of(token) + lanes;
}

void sim_runner::embed() {
  for (std::int32_t t = 0; t < slots_.batch().tokens; ++t) {
    const auto token = static_cast<std::uint64_t>(slots_.token_ids()[t]);
    const auto position = static_cast<std::uint64_t>(slots_.positions()[t]);
    unpack(mix(token, position), x_of(t));
    unpack(0, total_of(t));
  }
}

/// The last rank's share is what the others leave of the whole, so that all of them add up to it.
std::uint64_t sim_runner::entry_share(const float* x) const {
  std::uint64_t whole = 0;
  for (auto layer = config_.place.layers.first; layer < config_.place.layers.last; ++layer) {
    whole = multiply_add(whole, mix(pack(x), static_cast<std::uint64_t>(layer)), 1);
  }
  const auto mine = static_cast<std::uint64_t>(config_.place.tensor_rank);
  const auto last = static_cast<std::uint64_t>(config_.place.tensor_size - 1);
  if (mine < last) {
    return mix(whole, mine);
  }
  auto left = whole;
  for (std::uint64_t rank = 0; rank < last; ++rank) {
    left = multiply_add(left, mix(whole, rank), minus_one);
  }
  return left;
}

std::uint64_t& sim_runner::kv_entry(std::size_t sequence, std::int32_t position) {
  const auto& batch = slots_.batch();
  const auto size = config_.limits.block_size;
  const auto* table = batch.blocks_of(static_cast<std::int32_t>(sequence));
  const auto block = static_cast<std::int64_t>(table[position / size]);
  return kv_[block * size + position % size];
}

/// Leaves this rank's seen(t) of the sequence's tokens in shares_.
void sim_runner::attend(std::size_t sequence) {
  const auto& batch = slots_.batch();
  const auto first = batch.first_position[sequence];
  std::uint64_t seen = 0;
  for (std::int32_t position = 0; position < first; ++position) {
    seen = multiply_add(seen, kv_entry(sequence, position), weight_of(position));
  }
  for (auto t = batch.query_start[sequence]; t < batch.query_start[sequence + 1]; ++t) {
    const auto position = first + (t - batch.query_start[sequence]);
    auto& entry = kv_entry(sequence, position);
    entry = entry_share(x_of(t));
    seen = multiply_add(seen, entry, weight_of(position));
    unpack(seen, &shares_[static_cast<std::size_t>(t) * lanes]);
  }
}

void sim_runner::add_shares() {
  for (std::int32_t t = 0; t < slots_.batch().tokens; ++t) {
    const auto sum = pack(&shares_[static_cast<std::size_t>(t) * lanes]); // modulo 2^16 by its mask
    unpack(multiply_add(pack(total_of(t)), sum, 1), total_of(t));
  }
}

void sim_runner::sample(const protocol::step_plan& plan, protocol::step_result& out) {
  const auto rows = slots_.sampled_rows();
  const auto places = slots_.sampled();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto slot = plan.slots[static_cast<std::size_t>(places[i])];
    const auto view = slots_.view(slot);
    const auto generated = view.tokens.size() - static_cast<std::size_t>(view.record.prompt_tokens);
    auto hash = mix(mix(pack(total_of(rows[i])), view.record.seed), generated);
    auto token = static_cast<token_id>(hash % static_cast<std::uint64_t>(config_.vocabulary));
    const bool may_not_end = static_cast<std::int64_t>(generated) < view.record.min_tokens;
    while (may_not_end
           && std::find(view.suppressed_ids.begin(), view.suppressed_ids.end(), token)
                  != view.suppressed_ids.end()) {
      hash = mix(hash);
      token = static_cast<token_id>(hash % static_cast<std::uint64_t>(config_.vocabulary));
    }
    out.slots.push_back(slot);
    out.tokens.push_back(token);
    out.logprobs.push_back(view.record.logprobs >= 0 ? 0.0F
                                                     : std::numeric_limits<float>::quiet_NaN());
    out.top_counts.push_back(0);
  }
}

} // namespace vdist::exec
