// kernels/cpu/op_table.hpp — the operations of one instruction set as plain functions over a range
// of the work. One table per translation unit cpu_<isa>.cpp; cpu_backend.cpp picks a table once and
// splits ranges over its threads. A range never changes bits (N-1): every function computes its
// outputs independently of where the range is cut.
#pragma once

#include "kernels/backend.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::kernels {

inline constexpr int lanes = 16; // N-2
inline constexpr int linear_direct_tokens =
    4; // linear uses weights straight from memory up to here
inline constexpr int linear_chunk_tokens = 72; // tokens whose packed rows share one pass over W
// Lane vectors of k per pass: four widened weight rows then fill a third of an L1 of 48 KiB, and
// the packed rows stream past them from L2. With few tokens reading the weights is the bound; short
// passes spread it evenly over the work.
inline constexpr int linear_segment_steps = 64;
inline constexpr int linear_segment_steps_few = 32;
inline constexpr int linear_few_tokens = 24;
inline constexpr int linear_super_groups = 8;   // groups of rows that reuse a packed segment in L2
inline constexpr int linear_tile_outs_max = 4;  // bounds tile_outs of every instruction set
inline constexpr int linear_leaf_levels = 25;   // levels of the leaf tree: up to 2^24 leaves
inline constexpr int attention_unit_rows = 48;  // (query, head) pairs of one unit of attention
inline constexpr int attention_value_keys = 32; // values converted at a time
inline constexpr int head_dim_max = 512;

/// How the reduction of a linear is laid out in packed operands: leaves of whole lane vectors, zero
/// padded.
struct linear_layout {
  std::int32_t leaf;       // elements per leaf
  std::int32_t leaf_steps; // lane vectors per leaf
  std::int64_t steps;      // lane vectors per row

  // Always inlined: a copy compiled for one instruction set must not serve another.
  [[gnu::always_inline]] explicit linear_layout(const linear_args& args) noexcept
      : leaf(args.in_features / args.reduction_leaves),
        leaf_steps((leaf + lanes - 1) / lanes),
        steps(static_cast<std::int64_t>(leaf_steps) * args.reduction_leaves) {}
};

/// Some tokens of a linear with their packed rows: blocks of tile_tokens tokens, each
/// [steps][tokens of block][lanes].
struct linear_chunk {
  const float* packed_x;
  std::int32_t first_token;
  std::int32_t tokens;
};

/// Private to one thread. Sizes in floats.
struct linear_scratch {
  float* panel;        // linear_segment_steps * linear_tile_outs_max * lanes, 64-byte aligned
  float* accumulators; // linear_super_groups * linear_chunk_tokens * linear_tile_outs_max * lanes
  float* leaf_sums;    // linear_super_groups * linear_chunk_tokens * linear_tile_outs_max *
                       // linear_leaf_levels
};

/// Queries of one sequence that read one kv head.
struct attention_unit {
  std::int32_t sequence;
  std::int32_t kv_head;
  std::int32_t query_first; // index in the batch
  std::int32_t query_count;
};

/// Private to one thread.
struct attention_scratch {
  float* scores;  // attention_unit_rows rows of the longest sequence, rounded up to lanes + 1 lane
                  // vector
  float* queries; // attention_unit_rows * head_dim_max
  float* accumulators;    // attention_unit_rows * head_dim_max
  float* tile;            // lanes * head_dim_max: keys of a tile, as stored
  float* tile_transposed; // lanes * head_dim_max: [head_dim][lanes]
  float* values;          // attention_value_keys * head_dim_max
};

struct op_table {
  const char* name;
  std::int32_t tile_tokens;   // block size of linear_chunk
  std::int32_t direct_tokens; // up to this many tokens linear reads weights straight from memory

  void (*linear_direct)(const linear_args&, std::int32_t out_first, std::int32_t out_last);
  void (*linear_pack)(const linear_args&,
                      const linear_chunk&,
                      std::int32_t block_first,
                      std::int32_t block_last,
                      float* packed_x);
  void (*linear_panel)(const linear_args&,
                       const linear_chunk&,
                       std::int32_t out_first,
                       std::int32_t out_last,
                       const linear_scratch&);
  void (*attention)(const attention_args&, const attention_unit&, const attention_scratch&);
  // The rest: rows (tokens) first … last-1.
  void (*rms_norm)(const rms_norm_args&, std::int32_t first, std::int32_t last);
  void (*layer_norm)(const layer_norm_args&, std::int32_t first, std::int32_t last);
  void (*rope)(const rope_args&, std::int32_t first, std::int32_t last);
  void (*kv_append)(const kv_append_args&, std::int32_t first, std::int32_t last);
  void (*gated_activation)(const gated_activation_args&, std::int32_t first, std::int32_t last);
  void (*activation)(const activation_args&, std::int32_t first, std::int32_t last);
  void (*add_residual)(const add_residual_args&, std::int32_t first, std::int32_t last);
  void (*embedding)(const embedding_args&, std::int32_t first, std::int32_t last);
  void (*position_embedding)(const position_embedding_args&, std::int32_t first, std::int32_t last);
  void (*gather_rows)(const gather_rows_args&, std::int32_t first, std::int32_t last);
};

namespace portable {
[[nodiscard]] const op_table& ops() noexcept;
}

#if defined(__x86_64__)
namespace avx2 {
[[nodiscard]] const op_table& ops() noexcept;
}

namespace avx512 {
[[nodiscard]] const op_table& ops() noexcept;
}
#endif

} // namespace vdist::kernels
