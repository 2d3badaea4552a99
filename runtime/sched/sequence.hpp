// runtime/sched/sequence.hpp — one request inside the scheduler, from add() to its terminal event.
// Owned by the scheduler; the queues and steps in flight borrow it.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/kv/host_store.hpp"
#include "runtime/kv/prefix_index.hpp"
#include "runtime/protocol/request.hpp"

#include <compare>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace vdist::sched {

/// Who runs first: fcfs by arrival, priority by (priority, arrival). Fewer is first in both.
enum class admission_policy : std::uint8_t { fcfs, priority };

/// Place in the policy's order, a total one. Members are compared from top to bottom.
struct sequence_key {
  std::int32_t tier = 1; // 0: promoted, before everybody else
  std::int32_t priority = 0;
  std::uint64_t arrival = 0;
  std::uint64_t id = 0;

  auto operator<=>(const sequence_key&) const = default;
};

/// waiting: no slot, no blocks. running: both. over: has had its terminal event, and keeps both
/// until the last step in flight that computes it has retired (S-1, K-3).
enum class sequence_state : std::uint8_t { waiting, running, over };

struct sequence {
  static constexpr std::uint32_t no_slot = std::numeric_limits<std::uint32_t>::max();

  request_id id;
  sequence_key key;
  sequence_state state = sequence_state::waiting;

  // Constant after add().
  std::int32_t prompt_tokens = 0;
  std::int32_t tokens_max = 0;    // prompt plus generated, at which the reason is length
  std::int32_t min_tokens = 0;    // a stop id counts only behind this many generated tokens
  std::vector<token_id> stop_ids; // sorted: eos (unless ignored) and stop tokens
  protocol::sampling_record sampling;
  std::vector<std::pair<token_id, float>> logit_bias;

  std::vector<token_id> tokens; // prompt, then what was generated and committed
  std::int32_t computed = 0;    // tokens whose KV is committed; < tokens.size()

  // What the steps in flight will add; all zero, and planned == computed + loading, when there are none.
  std::int32_t steps_in_flight = 0; // that compute this sequence
  std::int32_t planned = 0;         // tokens whose KV is committed or in flight
  std::int32_t samples_ahead = 0;   // tokens that will have been sampled

  // While it has a slot.
  std::uint32_t slot = no_slot;
  std::int32_t blocks_recorded = 0;  // the first so many of `blocks` are in the table of kept KV
  bool is_announced = false;         // the workers know the slot in this epoch (P-3)
  std::size_t blocks_announced = 0;  // of `blocks`; meaningful while is_announced
  std::vector<block_id> blocks;      // for positions 0 … blocks*block_size-1
  std::int32_t blocks_published = 0; // the first so many are covered by `node`
  kv::prefix_node node;              // prefix of blocks_published blocks
  std::int32_t blocks_stored = 0;    // the first so many are in the host store, or on their way
  kv::stored_prefix stored;          // of blocks_stored blocks; pinned
  std::int32_t loading =
      0; // tokens behind `computed` that its first step takes from the host store (S-12)
  std::vector<std::int32_t> load_slots; // of their blocks
  std::int32_t plans_missed = 0;        // in a row, as a prompt without budget
  std::uint64_t held_in = 0;            // this plan goes without it, so that it can give way

  bool is_suspect = false; // runs alone until its next token is committed (S-10)

  // While waiting: what the last failed admission found, to spare the next ones the search.
  std::int32_t hits_seen = -1; // blocks; -1: not tried yet
  std::int32_t tries_skipped = 0;
  std::int32_t promised =
      0; // tokens whose KV was lost and not counted, because the host store had it

  [[nodiscard]] std::int32_t known() const { return static_cast<std::int32_t>(tokens.size()); }

  [[nodiscard]] std::int32_t generated() const { return known() - prompt_tokens; }

  /// Tokens known once the steps in flight are committed, unless it ends before.
  [[nodiscard]] std::int32_t expected() const { return known() + samples_ahead; }

  /// Tokens to compute, behind the steps in flight, before the next one can be sampled; >= 1.
  [[nodiscard]] std::int32_t remaining() const { return expected() - planned; }

  [[nodiscard]] bool is_in_flight() const { return steps_in_flight > 0; }

  /// The steps in flight never happened.
  void rewind();

  /// Why the sequence is over after its last generated token; none: it goes on. A function of the
  /// request and its tokens alone. Stop ids go before lengths.
  [[nodiscard]] protocol::finish_reason stop_reason() const;
};

/// The sequence that a request describes, waiting, its sampling record complete. Ids outside
/// [0, vocabulary) can never be sampled and are dropped from the stop ids; vocabulary 0: unknown.
[[nodiscard]] sequence make_sequence(protocol::request request,
                                     admission_policy policy,
                                     std::int32_t max_model_len,
                                     std::int32_t vocabulary);

} // namespace vdist::sched
