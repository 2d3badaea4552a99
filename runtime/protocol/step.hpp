// runtime/protocol/step.hpp — one step of one replica: the plan that goes down and the result that
// comes up. executor → every stage → its workers: step_plan. Every worker → its stage → executor:
// step_result. Structs of arrays: all columns travel as msgpack `bin`, so 256 sequences cost a
// microsecond (codec: step_codec.hpp).
//
// P-1 A plan or result of an older epoch is dropped and counted; of a newer one it is refused until
//     the epoch message has been seen. Epoch, incarnation and sequence number are in the envelope
//     of every message (transport/frame).
// P-2 Steps of an epoch arrive in order, each exactly once; a step number is never used twice, not
//     across epochs, step lanes or control processes either.
// P-3 A plan holds differences. The first plan that names a slot in an epoch carries the whole
//     sequence (is_new): its tokens, blocks and sampling record; later plans carry only this step's
//     tokens and the blocks that were added.
// P-4 A slot named in retired_slots is forgotten before the step runs; it may be used again by a
//     later plan.
// P-5 Every worker of the replica answers every plan. Ranks that do not sample answer without
//     tokens.
// P-6 Ranks of one stage must report the same digest; the executor commits nothing otherwise.
// (P-7, one terminal event per request, is a rule of the router.)
// P-8 `fed_token` among the tokens is the token that the last step which named the slot sampled:
//     the plan was made before anybody could know it. Legal only as the one token of a sequence
//     that is not new, after a step of this epoch that had flag_feeds for the slot.
// P-9 Tokens sampled under flag_feeds are shared with the whole tensor group right after sampling,
//     before the next step; whether that happens depends on the plan alone, so ranks never
//     disagree. A replica with several stages gets no flag_feeds: its first stage would have to be
//     told by its last, and meanwhile has other sequences to work on.
// P-10 `saves` are full blocks of committed KV that a worker copies into the host store (kv/host_store.hpp), its layers and heads
//     of each. It says in `saved_step` up to which step all of them are there; that may be later than the result of the step
//     itself, but by then they are read from the cache, and the blocks may be written again. At most `saves_max` of an epoch
//     are not in the store yet.
// P-11 `loads` are copied from the host store into blocks before anything of the step is computed.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vdist::protocol {

/// Sequence flags in step_plan::flags.
inline constexpr std::uint8_t flag_new = 1; // the whole sequence is in this plan (P-3)
/// The chunk reaches the end of the known tokens: sample one token.
inline constexpr std::uint8_t flag_samples = 2;
/// A later plan may feed the sampled token (P-8, P-9). Only with flag_samples.
inline constexpr std::uint8_t flag_feeds = 4;

/// Stands in step_plan::tokens for a token that the device knows and the plan does not (P-8).
inline constexpr token_id fed_token = -1;

/// How one sequence is sampled; a plain record, sent once per sequence and epoch. All-default means
/// greedy. The token is a function of these values, the logits and the tokens before it, nothing
/// else.
struct sampling_record {
  std::uint64_t seed = 0;       // resolved by the front door: never "random" here
  float temperature = 0;        // 0: greedy
  float top_p = 1;              // (0, 1]
  float min_p = 0;              // [0, 1]
  float repetition_penalty = 1; // > 0
  float presence_penalty = 0;   // [-2, 2]
  float frequency_penalty = 0;  // [-2, 2]
  std::int32_t top_k = 0;       // 0: off
  std::int32_t min_tokens =
      0;                      // suppressed_ids may not be sampled before this many generated tokens
  std::int32_t logprobs = -1; // -1: none; N: the chosen and the top N
  std::int32_t prompt_tokens =
      0; // length of the prompt; later tokens are generated ones (penalties, position)
  std::int32_t bias_count =
      0; // entries of step_plan::bias_ids / bias_values that belong to this sequence
  std::int32_t suppressed_count = 0; // entries of step_plan::suppressed_ids
};

static_assert(sizeof(sampling_record) == 56, "sent as bytes: no padding, fixed size");

/// A KV block and its slot of the host store.
struct block_copy {
  std::int32_t block = 0;
  std::int32_t slot = 0;

  bool operator==(const block_copy&) const = default;
};

static_assert(sizeof(block_copy) == 8, "sent as bytes: no padding, fixed size");

/// What the replica computes in one step. n = sequences; columns of length n unless said otherwise.
struct step_plan {
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;

  std::vector<std::uint32_t> slots;       // table slot of each sequence, unique within a plan
  std::vector<std::uint64_t> request_ids; // for logs, failpoints and the sim device
  std::vector<std::uint8_t> flags;        // flag_new | flag_samples | flag_feeds
  std::vector<std::int32_t>
      first_position;                     // tokens of the sequence whose KV exists before this step
  std::vector<std::int32_t> token_counts; // tokens that this step computes, >= 1
  std::vector<std::int32_t> block_counts; // blocks in new_blocks that belong to this sequence
  std::vector<std::int32_t>
      new_blocks; // flattened; a new sequence lists all its blocks, others the added ones
  std::vector<std::int32_t>
      tokens; // flattened; new: first_position + token_counts ids, else token_counts (P-8)
  std::vector<std::uint32_t> retired_slots; // P-4

  std::vector<sampling_record> sampling;    // one per new sequence, in order
  std::vector<std::int32_t> bias_ids;       // flattened logit_bias
  std::vector<float> bias_values;           // same length as bias_ids
  std::vector<std::int32_t> suppressed_ids; // flattened eos and stop ids

  std::vector<block_copy> saves; // P-10
  std::vector<block_copy> loads; // P-11

  /// Empties every column and keeps its memory: a steady state allocates nothing.
  void clear();

  [[nodiscard]] std::size_t sequences() const { return slots.size(); }

  /// Tokens that this step computes, over all sequences.
  [[nodiscard]] std::int64_t computed_tokens() const;
};

/// Checks that lengths, counts and ranges of the columns agree with each other and with the limits
/// of a worker. Never trusts a plan: called once by every worker before it touches its tables.
/// Error: corrupt.
struct plan_limits {
  std::uint32_t slots = 0;        // slots are below this
  std::int32_t blocks = 0;        // block ids are below this
  std::int32_t vocabulary = 0;    // token ids are in [0, vocabulary), or fed_token
  std::int32_t max_positions = 0; // first_position + token_counts is at most this
  std::int32_t block_size = 0;
  std::int32_t store_slots = 0; // of the host store; 0: there is none
  std::int32_t saves_max = 0;   // P-10; of one plan here
};

[[nodiscard]] result<void> validate(const step_plan& plan, const plan_limits& limits);

/// What one worker reports of one step. m = sampled sequences in plan order.
struct step_result {
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;
  std::int32_t rank = 0;        // global rank of the worker
  std::int16_t status = 0;      // errc; when not ok the columns are empty
  std::uint64_t digest = 0;     // hash of the stage's output rows, and of tokens (P-6)
  std::uint32_t compute_us = 0; // time from plan received to result ready
  std::vector<std::uint32_t>
      slots; // m; only the sampling rank fills this and the following columns
  std::vector<std::int32_t> tokens;     // m
  std::vector<float> logprobs;          // m, of the chosen token; NaN where not asked for
  std::vector<std::int32_t> top_counts; // m, entries in top_ids / top_logprobs of that sequence
  std::vector<std::int32_t> top_ids;    // flattened, falling log probability, ties by smaller id
  std::vector<float> top_logprobs;
  std::string message;          // text of the error when status is not ok
  std::uint64_t saved_step = 0; // P-10; 0: none

  void clear();
};

} // namespace vdist::protocol
