// model/exec/memory_plan.hpp — the bytes of one rank, before anything is loaded: weights, KV
// blocks, activations. Pure arithmetic on the network's description; --dump-topology, the sizing of
// the KV cache and the runner itself use it, so they cannot disagree.
#pragma once

#include "model/arch/registry.hpp"
#include "model/layers/context.hpp"

#include "kernels/attention/attention.hpp"
#include "kernels/backend.hpp"
#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::exec {

/// Rows that go through the LM head at once, unless runner_limits say otherwise.
inline constexpr std::int32_t logit_rows_max = 64;
/// The same where the head's weights should be read once for a large batch: on GPUs.
inline constexpr std::int32_t device_logit_rows_max = 256;
/// Steps of up to so many tokens have activations of their own on GPUs: all steps that are recorded.
inline constexpr std::int32_t device_small_step_tokens = 256;
/// Bytes: every buffer and every layer's part of the KV region starts at a multiple of this.
inline constexpr std::size_t region_alignment = 64;

/// What a worker is made for.
struct runner_limits {
  std::int32_t max_batch_tokens = 0; // of one step
  std::int32_t max_sequences = 0;    // running at once
  std::int32_t max_positions = 0;    // tokens of one sequence
  std::int32_t blocks = 0;           // of the KV cache
  std::int32_t block_size = 16;      // tokens per block
  std::int32_t logit_rows =
      logit_rows_max; // through the LM head at once: bounds the memory of logits
  /// Steps of up to so many tokens use activations of their own; 0: all steps share.
  std::int32_t small_step_tokens = 0;

  /// Whether there are two sorts of steps.
  [[nodiscard]] bool has_large_steps() const {
    return small_step_tokens > 0 && small_step_tokens < max_batch_tokens;
  }

  /// What the smaller of the activations are made for.
  [[nodiscard]] std::int32_t first_step_tokens() const {
    return has_large_steps() ? small_step_tokens : max_batch_tokens;
  }
};

/// One layer's keys and values of one block on this rank, summed over the rank's layers. 0 for a
/// stage without layers.
[[nodiscard]] std::size_t kv_bytes_per_block(const arch::network& network, std::int32_t block_size);

/// The KV region of a rank: per layer keys, then values, each aligned.
[[nodiscard]] std::size_t kv_bytes(const arch::network& network, const runner_limits& limits);

/// One entry per layer of the stage; `base` has kv_bytes() bytes.
[[nodiscard]] std::vector<kernels::paged_kv>
lay_out_kv(const arch::network& network, const runner_limits& limits, std::byte* base);

/// How activations are kept: what memory they need depends on it.
struct activation_form {
  kernels::activation_types types; // of the backend
  std::int32_t tensor_size = 1;    // ranks whose logits come together
};

/// Sizes that a backend allocates its scratch for.
struct backend_needs {
  std::int32_t max_positions = 0; // longest sequence
  std::int32_t max_tokens = 0;    // most rows of one operation
  std::int32_t max_features = 0;  // largest in_features of a linear
  std::int32_t max_heads = 0;     // query heads of this rank
  std::int32_t max_head_dim = 0;
  std::int32_t max_logit_rows = 0; // of one sampling; 0: this rank has no head
  std::int32_t max_vocabulary = 0;
};

[[nodiscard]] backend_needs needs_of(const arch::network& network, const runner_limits& limits);

/// Bytes of one rank, for people.
struct rank_memory {
  std::size_t weights = 0;
  std::size_t kv_per_block = 0;
  std::size_t activations = 0; // and the rotary tables
};

[[nodiscard]] rank_memory
memory_of(const arch::network& network, const runner_limits& limits, const activation_form& form);

} // namespace vdist::exec
