#include "runtime/sched/replica_choice.hpp"

#include "runtime/base/check.hpp"
#include "runtime/kv/prefix_index.hpp"

#include <limits>
#include <utility>

namespace vdist::sched {

replica_choice::replica_choice(const replica_choice_config& config,
                               std::vector<const replica_view*> views)
    : config_(config),
      views_(std::move(views)),
      sequences_(static_cast<std::size_t>(config.replicas)),
      prefill_(static_cast<std::size_t>(config.replicas)) {
  VDIST_CHECK(views_.empty() || views_.size() == sequences_.size(), "B-2: one view per replica");
}

/// Of the blocks that a scheduler may take from the cache: at least one token is computed.
void replica_choice::hash(std::span<const token_id> prompt) {
  chain_.clear();
  if (config_.weighs_prefix && !views_.empty() && !prompt.empty()) {
    kv::chain_of(prompt.first(prompt.size() - 1),
                 config_.block_size,
                 std::numeric_limits<std::int32_t>::max(),
                 config_.prefix_salt,
                 chain_);
  }
}

std::int64_t replica_choice::held_of_chain(std::size_t replica) const {
  return chain_.empty()
             ? 0
             : std::int64_t{views_[replica]->prefixes.count_leading(chain_)} * config_.block_size;
}

std::int64_t replica_choice::held(std::int32_t replica, std::span<const token_id> prompt) {
  hash(prompt);
  return held_of_chain(static_cast<std::size_t>(replica));
}

std::int64_t replica_choice::cost(std::size_t replica, std::int64_t own) const {
  const auto to_compute = prefill_[replica] + own;
  std::int64_t missing = 0;
  if (!views_.empty()) {
    const std::int64_t blocks = views_[replica]->blocks_available.load(std::memory_order_relaxed);
    missing = std::max<std::int64_t>(0, to_compute - blocks * config_.block_size);
  }
  return to_compute + sequence_tokens * static_cast<std::int64_t>(sequences_[replica]) + missing;
}

std::optional<replica_choice::choice> replica_choice::choose(std::span<const token_id> prompt,
                                                             std::span<const standing> standings) {
  VDIST_CHECK(standings.size() == sequences_.size(), "B-1: one standing per replica");
  const auto best_standing =
      standings.empty() ? standing::absent : *std::max_element(standings.begin(), standings.end());
  if (best_standing == standing::absent) {
    return std::nullopt;
  }
  auto fewest = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t replica = 0; replica < standings.size(); ++replica) {
    if (standings[replica] == best_standing) {
      fewest = std::min(fewest, sequences_[replica]);
    }
  }
  hash(prompt);
  const auto most = imbalance_of(static_cast<std::int64_t>(fewest));
  const auto tokens = static_cast<std::int64_t>(prompt.size());
  std::optional<choice> best;
  std::int64_t lowest = 0;
  for (std::size_t replica = 0; replica < standings.size(); ++replica) {
    if (standings[replica] != best_standing) {
      continue;
    }
    const auto own = tokens - held_of_chain(replica);
    const bool counts = static_cast<std::int64_t>(sequences_[replica]) < most; // B-3
    const auto costs = cost(replica, counts ? own : tokens);
    if (!best || costs < lowest) {
      best = choice{static_cast<std::int32_t>(replica), own};
      lowest = costs;
    }
  }
  return best;
}

void replica_choice::give(std::int32_t replica, std::int64_t prefill) {
  ++sequences_.at(static_cast<std::size_t>(replica));
  prefill_.at(static_cast<std::size_t>(replica)) += prefill;
}

void replica_choice::begin(std::int32_t replica, std::int64_t prefill) {
  prefill_.at(static_cast<std::size_t>(replica)) -= prefill;
}

void replica_choice::take(std::int32_t replica, std::int64_t prefill) {
  --sequences_.at(static_cast<std::size_t>(replica));
  prefill_.at(static_cast<std::size_t>(replica)) -= prefill;
}

} // namespace vdist::sched
