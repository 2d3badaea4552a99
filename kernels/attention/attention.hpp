// kernels/attention/attention.hpp — causal attention over a paged KV cache, prefill chunks and decode in one batch.
//   out[t, h] = sum_j softmax_j(scale * <q[t, h], k[j, h / group]>) v[j, h / group],  j <= position(t),
//   and j > position(t) - window if window > 0; group = heads / kv_heads.
// A-1 Keys are visited in rising position; scores and sums depend on position(t) only, never on the chunking, the block
//     size or other sequences (kernels/backend.hpp N-1). Keys and values are always read back from the cache, in its type.
// A-2 KV layout of one layer: [blocks, kv_heads, block_size, head_dim], K and V apart.
// Bytes (decode): 2 * positions * kv_heads * head_dim * size_of(kv_dtype) per sequence.
#pragma once

#include "kernels/dtype.hpp"

#include <cstdint>

namespace vdist::kernels {

/// One layer's share of the KV arena on one rank.
struct paged_kv {
  void* keys;   // [blocks, kv_heads, block_size, head_dim] of type
  void* values; // the same
  dtype type;
  std::int32_t block_size; // tokens per block
  std::int32_t kv_heads;
  std::int32_t head_dim;
};

/// The sequences of one step. Token t of the batch belongs to sequence s when query_start[s] <= t <
/// query_start[s+1].
/// On devices that pad a step to a size that they have a graph for, a sequence of padding has one token at
/// position -1: nothing is read from or written to the cache for it, and its attention is zeros.
struct sequence_batch {
  const std::int32_t* query_start;    // [sequences + 1], rising, query_start[0] == 0
  const std::int32_t* first_position; // [sequences], position of the first token of the chunk
  const std::int32_t* table_rows =
      nullptr;                      // [sequences], row of block_tables; nullptr: its own number
  const std::int32_t* block_tables; // [rows, block_table_stride], block ids in order of position
  std::int32_t block_table_stride;
  std::int32_t sequences;
  std::int32_t tokens;            // query_start[sequences]
  std::int32_t longest_query = 0; // most tokens of one sequence; 0: not said

  /// The blocks of a sequence, on a device whose memory the caller can read. Always inlined: see kernels/dtype.hpp.
  [[nodiscard, gnu::always_inline]] const std::int32_t* blocks_of(std::int32_t sequence) const {
    const std::int64_t row = table_rows == nullptr ? sequence : table_rows[sequence];
    return block_tables + row * block_table_stride;
  }
};

struct kv_append_args {
  const_elements k; // [tokens, kv_heads * head_dim], row stride k_stride
  const_elements v; // [tokens, kv_heads * head_dim], row stride v_stride
  std::int64_t k_stride;
  std::int64_t v_stride;
  paged_kv kv; // written at the tokens' positions; rounded to nearest even
  sequence_batch batch;
};

/// All that happens between the qkv projection and attention: norm of each q and k head (Qwen 3), rotation of both, k
/// and v into the cache. q stays where it is; k and v need not (they are read back from the cache).
struct qkv_args {
  elements qkv;        // [tokens, (heads + 2 * kv.kv_heads) * head_dim]: q heads, k heads, v heads
  std::int64_t stride; // of the rows of qkv
  std::int32_t heads;
  const float* q_norm;    // [head_dim], RMSNorm; nullptr: none
  const float* k_norm;    // [head_dim]; nullptr: none
  float eps;              // of both norms
  const float* cos_table; // [positions, rotary_dim / 2]; see kernels/position/rope.hpp
  const float* sin_table;
  std::int32_t rotary_dim;       // 0: no rotation
  const std::int32_t* positions; // [tokens]
  paged_kv kv;
  sequence_batch batch;
};

struct attention_args {
  const_elements q; // [tokens, heads * head_dim], row stride q_stride
  elements out;     // [tokens, heads * head_dim], row stride out_stride; aliases nothing
  std::int64_t q_stride;
  std::int64_t out_stride;
  paged_kv kv; // holds the tokens of this step already (kv_append)
  sequence_batch batch;
  std::int32_t heads; // multiple of kv.kv_heads
  float scale;
  std::int32_t window;       // sliding window in tokens; 0: none
  std::int32_t max_position; // largest position in the batch + 1; bounds the scratch
};

} // namespace vdist::kernels
