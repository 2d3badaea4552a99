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
struct sequence_batch {
  const std::int32_t* query_start;    // [sequences + 1], rising, query_start[0] == 0
  const std::int32_t* first_position; // [sequences], position of the first token of the chunk
  const std::int32_t*
      block_tables; // [sequences, block_table_stride], block ids in order of position
  std::int32_t block_table_stride;
  std::int32_t sequences;
  std::int32_t tokens; // query_start[sequences]
};

struct kv_append_args {
  const float* k; // [tokens, kv_heads * head_dim], row stride k_stride
  const float* v; // [tokens, kv_heads * head_dim], row stride v_stride
  std::int64_t k_stride;
  std::int64_t v_stride;
  paged_kv kv; // written at the tokens' positions; rounded to nearest even
  sequence_batch batch;
};

struct attention_args {
  const float* q; // [tokens, heads * head_dim], row stride q_stride
  float* out;     // [tokens, heads * head_dim], row stride out_stride; aliases nothing
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
