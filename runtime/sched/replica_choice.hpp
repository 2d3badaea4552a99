// runtime/sched/replica_choice.hpp — which data-parallel replica runs a request: what each has to do, what KV it has free, and
// how much of the prompt it holds already. A plain class without a clock: the same calls give the same choices.
//
// Costs are tokens, the unit of the schedulers' budget:
//
//   cost(r) = prefill(r) + sequence_tokens * sequences(r) + own(r) + short(r)
//
//   prefill(r)    tokens that the requests given to r had to compute there, of those without a token yet
//   sequences(r)  requests given to r that have not ended
//   own(r)        tokens of this prompt that r would have to compute: all but those of the leading blocks that it holds
//   short(r)      tokens that find no KV block free: max(0, prefill(r) + own(r) - available(r))
//
// Where from: load as prefill to do plus sequences that decode, less what the prefix saves, is the cost of NVIDIA Dynamo's KV
// router (and of Mooncake's conductor, in seconds); that a prefix counts only within a bound on imbalance is SGLang's
// cache-aware router. Theirs guess what a worker holds from what was sent there, or hear of it later; here it is looked up.
//
// B-1 The lowest cost of the usable replicas, the lowest index among equals; one that drains only when no other is usable.
// B-2 Exact: prefill and sequences are sums over what was given and has not begun or ended; held tokens are those whose blocks
//     the replica has published when it is asked (kv/published_prefixes.hpp). Nothing ages, nothing is estimated.
// B-3 Bounded: a prefix counts for nothing on a replica that has imbalance_of(fewest) sequences or more, so that a prefix that
//     everybody has fills no replica beyond it; what the work of prompts adds to that is work that the others have, too.
// B-4 Choices change when a token comes and never which (scheduler.hpp, S-4).
// The counts are the router's alone and outlive it with its table; a view belongs to the replica. A new control process counts
// what it takes over, and looks at views that are as empty as the caches of its schedulers.
// Not thread-safe, apart from the views. Cost: choose() hashes the prompt once, then a look-up per held block and replica.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/kv/published_prefixes.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vdist::sched {

/// What a replica's step thread lets others see of its KV. Outlives every scheduler of the replica.
struct replica_view {
  explicit replica_view(std::int32_t blocks) : prefixes(blocks), blocks_available(blocks) {}

  kv::published_prefixes prefixes;
  std::atomic<std::int32_t> blocks_available; // free or evictable, at the last step boundary
};

/// What a sequence weighs beside its prompt: it takes a token of the budget in each of its steps, of which a few hundred are
/// usual, while a step's prompts can be thousands.
inline constexpr std::int64_t sequence_tokens = 256;

/// Sequences from which on a prefix counts for nothing, where the replica that has the fewest has so many (B-3).
[[nodiscard]] constexpr std::int64_t imbalance_of(std::int64_t fewest) {
  constexpr std::int64_t sequences_ahead = 8;
  return fewest + std::max(sequences_ahead, fewest / 2);
}

struct replica_choice_config {
  std::int32_t replicas = 1;
  std::int32_t block_size = 16;  // tokens
  bool weighs_prefix = true;     // off: nobody holds anything
  std::uint64_t prefix_salt = 0; // of the replicas' schedulers
};

/// B-1.
enum class standing : std::uint8_t { absent, draining, usable };

class replica_choice {
public:
  /// `views`: by replica, borrowed; empty: nothing is known of their KV, and none is short of it.
  replica_choice(const replica_choice_config& config, std::vector<const replica_view*> views);

  struct choice {
    std::int32_t replica = 0;
    std::int64_t prefill = 0; // tokens of the prompt that it has to compute
  };

  /// `standings`: by replica. nullopt: all are absent. Nothing is counted.
  [[nodiscard]] std::optional<choice> choose(std::span<const token_id> prompt,
                                             std::span<const standing> standings);

  /// Tokens of the prompt whose KV the replica holds.
  [[nodiscard]] std::int64_t held(std::int32_t replica, std::span<const token_id> prompt);

  // --- the counts (B-2) ---

  /// The replica has a request more, and so many tokens of it to compute; 0: it decodes.
  void give(std::int32_t replica, std::int64_t prefill);
  /// They are computed: its first token is there.
  void begin(std::int32_t replica, std::int64_t prefill);
  /// It has a request less, `prefill` tokens of which were not computed.
  void take(std::int32_t replica, std::int64_t prefill);

  /// By replica.
  [[nodiscard]] const std::vector<std::uint64_t>& sequences() const { return sequences_; }

  [[nodiscard]] const std::vector<std::int64_t>& prefill() const { return prefill_; }

private:
  void hash(std::span<const token_id> prompt);
  [[nodiscard]] std::int64_t held_of_chain(std::size_t replica) const;
  [[nodiscard]] std::int64_t cost(std::size_t replica, std::int64_t own) const;

  const replica_choice_config config_;
  const std::vector<const replica_view*> views_;
  std::vector<std::uint64_t> sequences_;
  std::vector<std::int64_t> prefill_; // tokens
  std::vector<std::uint64_t> chain_;  // of the prompt that is asked for
};

} // namespace vdist::sched
