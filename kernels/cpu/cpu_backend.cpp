// kernels/cpu/cpu_backend.cpp — checks contracts, cuts each operation into units and hands them to
// the thread team.
#include "kernels/cpu/cpu_backend.hpp"

#include "kernels/contract.hpp"
#include "kernels/cpu/host_queue.hpp"
#include "kernels/cpu/op_table.hpp"
#include "kernels/cpu/scratch.hpp"
#include "kernels/cpu/thread_team.hpp"

#include <algorithm>
#include <bit>
#include <vector>

namespace vdist::kernels {

namespace {

// Below this many elementary operations the caller works alone: handing work over costs about a
// microsecond.
constexpr std::int64_t share_threshold = 1 << 16;
constexpr std::int32_t units_per_thread = 4; // evens out threads that lose their core for a while
constexpr std::int32_t out_alignment =
    16; // floats of y per cache line: two threads never write one line
constexpr std::int32_t leaves_budget =
    64; // leaves whose padding the packed rows have room for in any case

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return ceil_div(a, b) * b;
}

const op_table& table_for(cpu_isa isa) {
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0
                        && __builtin_cpu_supports("f16c") != 0;
  const bool has_avx512 =
      has_avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0
      && __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  if (has_avx512 && (isa == cpu_isa::automatic || isa == cpu_isa::avx512)) {
    return avx512::ops();
  }
  if (has_avx2 && isa != cpu_isa::portable) {
    return avx2::ops();
  }
#endif
  return portable::ops();
}

/// What one thread needs beside the arguments.
struct thread_scratch {
  static constexpr std::int64_t group_outputs =
      static_cast<std::int64_t>(linear_super_groups) * linear_chunk_tokens * linear_tile_outs_max;

  explicit thread_scratch(std::int64_t score_floats)
      : panel(linear_segment_steps * linear_tile_outs_max * lanes),
        accumulators(group_outputs * lanes),
        leaf_sums(group_outputs * linear_leaf_levels),
        scores(score_floats),
        queries(attention_unit_rows * head_dim_max),
        weighted(attention_unit_rows * head_dim_max),
        tile(lanes * head_dim_max),
        tile_transposed(lanes * head_dim_max),
        values(attention_value_keys * head_dim_max) {}

  [[nodiscard]] linear_scratch for_linear() const {
    return {
        .panel = panel.data(), .accumulators = accumulators.data(), .leaf_sums = leaf_sums.data()};
  }

  [[nodiscard]] attention_scratch for_attention() const {
    return {.scores = scores.data(),
            .queries = queries.data(),
            .accumulators = weighted.data(),
            .tile = tile.data(),
            .tile_transposed = tile_transposed.data(),
            .values = values.data()};
  }

  scratch_array panel;
  scratch_array accumulators;
  scratch_array leaf_sums;
  scratch_array scores;
  scratch_array queries;
  scratch_array weighted;
  scratch_array tile;
  scratch_array tile_transposed;
  scratch_array values;
};

class cpu_backend final : public backend {
public:
  explicit cpu_backend(const cpu_backend_config& config)
      : ops_(table_for(config.isa)),
        max_positions_(config.max_positions),
        max_tokens_(config.max_tokens),
        max_features_(config.max_features),
        packed_capacity_(packed_floats(config)),
        packed_x_(packed_capacity_),
        unit_ends_(static_cast<std::size_t>(config.max_tokens)),
        team_(config.threads) {
    const std::int64_t columns = round_up(config.max_positions, lanes) + 2 * lanes;
    for (std::int32_t thread = 0; thread < config.threads; ++thread) {
      scratch_.emplace_back(columns * attention_unit_rows);
    }
  }

  [[nodiscard]] std::string_view name() const noexcept override { return ops_.name; }

  [[nodiscard]] activation_types types(dtype /*weights*/) const noexcept override { return {}; }

  [[nodiscard]] device_queue& queue() noexcept override { return queue_; }

  void linear(const linear_args& a) noexcept override;
  void attention(const attention_args& a) noexcept override;

  void rms_norm(const rms_norm_args& a) noexcept override {
    VDIST_CONTRACT("rms_norm", a.width > 0);
    by_rows(a.rows, a.width, ops_.rms_norm, a);
  }

  void layer_norm(const layer_norm_args& a) noexcept override {
    VDIST_CONTRACT("layer_norm", a.width > 0);
    by_rows(a.rows, a.width, ops_.layer_norm, a);
  }

  void rope(const rope_args& a) noexcept override {
    VDIST_CONTRACT("rope", a.rotary_dim % 2 == 0 && a.rotary_dim <= a.head_dim);
    by_rows(a.tokens, static_cast<std::int64_t>(a.heads) * a.rotary_dim, ops_.rope, a);
  }

  void kv_append(const kv_append_args& a) noexcept override {
    by_rows(a.batch.tokens,
            static_cast<std::int64_t>(2) * a.kv.kv_heads * a.kv.head_dim,
            ops_.kv_append,
            a);
  }

  void gated_activation(const gated_activation_args& a) noexcept override {
    constexpr std::int64_t cost = 8; // an exponential is worth several plain operations
    by_rows(a.rows, cost * a.width, ops_.gated_activation, a);
  }

  void activation(const activation_args& a) noexcept override {
    constexpr std::int64_t cost = 8;
    by_rows(a.rows, cost * a.width, ops_.activation, a);
  }

  void add_residual(const add_residual_args& a) noexcept override {
    by_rows(a.rows, a.width, ops_.add_residual, a);
  }

  void embedding(const embedding_args& a) noexcept override {
    by_rows(a.tokens, a.width, ops_.embedding, a);
  }

  void position_embedding(const position_embedding_args& a) noexcept override {
    by_rows(a.tokens, a.width, ops_.position_embedding, a);
  }

  void gather_rows(const gather_rows_args& a) noexcept override {
    by_rows(a.rows, a.width, ops_.gather_rows, a);
  }

  void digest(const digest_args& a) noexcept override;

private:
  static std::int64_t packed_floats(const cpu_backend_config& config) {
    const std::int64_t tokens = std::min(config.max_tokens, linear_chunk_tokens);
    return tokens
           * (round_up(config.max_features, lanes)
              + static_cast<std::int64_t>(leaves_budget) * lanes);
  }

  /// f over all rows, in one piece or a few per thread; `cost` is per row.
  template <class Args>
  void by_rows(std::int32_t rows,
               std::int64_t cost,
               void (*f)(const Args&, std::int32_t, std::int32_t),
               const Args& a) noexcept {
    if (rows <= 0) {
      return;
    }
    if (rows == 1 || rows * cost < share_threshold) {
      f(a, 0, rows);
      return;
    }
    const auto units = static_cast<std::int32_t>(std::min<std::int64_t>(
        rows, static_cast<std::int64_t>(team_.threads()) * units_per_thread));
    team_.run(units, [rows, units, f, &a](std::int32_t unit, std::int32_t) {
      f(a, cut(rows, units, unit), cut(rows, units, unit + 1));
    });
  }

  /// Where unit `unit` of `units` over `count` items begins.
  static std::int32_t cut(std::int32_t count, std::int32_t units, std::int32_t unit) {
    return static_cast<std::int32_t>(static_cast<std::int64_t>(count) * unit / units);
  }

  void linear_by_outs(const linear_args& a, const linear_chunk* chunk) noexcept;
  void linear_in_chunks(const linear_args& a, std::int32_t chunk_tokens) noexcept;
  [[nodiscard]] attention_unit
  locate(const attention_args& a, std::int32_t unit, std::int32_t queries) const;

  host_queue queue_;
  const op_table& ops_;
  std::int32_t max_positions_;
  std::int32_t max_tokens_;
  std::int32_t max_features_;
  std::int64_t packed_capacity_;
  scratch_array packed_x_;              // rows of x of one chunk, shared by all threads
  std::vector<std::int32_t> unit_ends_; // attention: query blocks of sequences 0 … s
  std::vector<thread_scratch> scratch_; // one per thread
  thread_team team_;                    // last: its threads end before the rest goes
};

void cpu_backend::linear(const linear_args& a) noexcept {
  VDIST_CONTRACT("linear", a.x.type == dtype::float32 && a.y.type == dtype::float32);
  VDIST_CONTRACT("linear", a.in_features > 0 && a.in_features <= max_features_);
  VDIST_CONTRACT("linear",
                 a.reduction_leaves > 0 && (a.reduction_leaves & (a.reduction_leaves - 1)) == 0);
  VDIST_CONTRACT("linear", a.in_features % a.reduction_leaves == 0);
  VDIST_CONTRACT("linear", a.reduction_leaves <= 1 << (linear_leaf_levels - 1));
  if (a.tokens <= 0 || a.out_features <= 0) {
    return;
  }
  // Tokens per chunk: what the packed rows have room for, in whole blocks, spread evenly.
  const std::int64_t row = linear_layout(a).steps * lanes;
  const std::int64_t room =
      std::min<std::int64_t>(packed_capacity_ / row, linear_chunk_tokens) / ops_.tile_tokens;
  if (a.tokens <= ops_.direct_tokens || room == 0) {
    linear_by_outs(a, nullptr);
    return;
  }
  const std::int64_t chunks = ceil_div(a.tokens, room * ops_.tile_tokens);
  linear_in_chunks(
      a, static_cast<std::int32_t>(round_up(ceil_div(a.tokens, chunks), ops_.tile_tokens)));
}

void cpu_backend::linear_in_chunks(const linear_args& a, std::int32_t chunk_tokens) noexcept {
  for (std::int32_t first = 0; first < a.tokens; first += chunk_tokens) {
    const linear_chunk chunk{.packed_x = packed_x_.data(),
                             .first_token = first,
                             .tokens = std::min(chunk_tokens, a.tokens - first)};
    const auto blocks = static_cast<std::int32_t>(ceil_div(chunk.tokens, ops_.tile_tokens));
    const std::int32_t units = std::min(blocks, team_.threads());
    team_.run(units, [this, &a, &chunk, blocks, units](std::int32_t unit, std::int32_t) {
      ops_.linear_pack(
          a, chunk, cut(blocks, units, unit), cut(blocks, units, unit + 1), packed_x_.data());
    });
    linear_by_outs(a, &chunk);
  }
}

/// Cuts the outputs into units; without a chunk the weights are used directly.
void cpu_backend::linear_by_outs(const linear_args& a, const linear_chunk* chunk) noexcept {
  const std::int64_t tokens = chunk != nullptr ? chunk->tokens : a.tokens;
  const std::int64_t work = tokens * a.in_features * a.out_features;
  const std::int32_t lines = static_cast<std::int32_t>(ceil_div(a.out_features, out_alignment));
  const std::int32_t units =
      work < share_threshold ? 1 : std::min(lines, team_.threads() * units_per_thread);
  team_.run(units, [this, &a, chunk, lines, units](std::int32_t unit, std::int32_t thread) {
    const std::int32_t first = cut(lines, units, unit) * out_alignment;
    const std::int32_t last = std::min(cut(lines, units, unit + 1) * out_alignment, a.out_features);
    if (chunk == nullptr) {
      ops_.linear_direct(a, first, last);
    } else {
      ops_.linear_panel(
          a, *chunk, first, last, scratch_[static_cast<std::size_t>(thread)].for_linear());
    }
  });
}

/// Unit = (sequence, block of `queries` queries, kv head), the head running fastest.
attention_unit
cpu_backend::locate(const attention_args& a, std::int32_t unit, std::int32_t queries) const {
  const std::int32_t block = unit / a.kv.kv_heads;
  const auto end = unit_ends_.begin() + a.batch.sequences;
  const auto at = std::upper_bound(unit_ends_.begin(), end, block);
  const auto sequence = static_cast<std::int32_t>(at - unit_ends_.begin());
  const std::int32_t before =
      sequence == 0 ? 0 : unit_ends_[static_cast<std::size_t>(sequence) - 1];
  const std::int32_t first = a.batch.query_start[sequence] + (block - before) * queries;
  return {.sequence = sequence,
          .kv_head = unit % a.kv.kv_heads,
          .query_first = first,
          .query_count = std::min(queries, a.batch.query_start[sequence + 1] - first)};
}

void cpu_backend::digest(const digest_args& a) noexcept {
  std::uint64_t sum = 0;
  for (std::int32_t r = 0; r < a.rows; ++r) {
    if (a.indices[r] < 0) {
      continue;
    }
    const float* x = a.x + (a.is_in_order ? r : a.indices[r]) * a.x_stride;
    const auto first = static_cast<std::uint64_t>(r) * static_cast<std::uint64_t>(a.width);
    for (std::int32_t c = 0; c < a.width; ++c) {
      sum += digest_mix(std::bit_cast<std::uint32_t>(x[c]), first + static_cast<std::uint64_t>(c));
    }
  }
  *a.digest = a.adds ? *a.digest + sum : sum;
}

void cpu_backend::attention(const attention_args& a) noexcept {
  VDIST_CONTRACT("attention", a.kv.kv_heads > 0 && a.heads % a.kv.kv_heads == 0);
  VDIST_CONTRACT("attention", a.kv.head_dim > 0 && a.kv.head_dim <= head_dim_max);
  VDIST_CONTRACT("attention", a.max_position <= max_positions_);
  VDIST_CONTRACT("attention", a.batch.sequences <= max_tokens_);
  const std::int32_t group = a.heads / a.kv.kv_heads;
  VDIST_CONTRACT("attention", group <= attention_unit_rows);
  const std::int32_t queries = attention_unit_rows / group;
  std::int32_t blocks = 0;
  std::int64_t work = 0;
  for (std::int32_t s = 0; s < a.batch.sequences; ++s) {
    const std::int32_t count = a.batch.query_start[s + 1] - a.batch.query_start[s];
    VDIST_CONTRACT("attention", a.batch.first_position[s] + count <= max_positions_);
    blocks += static_cast<std::int32_t>(ceil_div(count, queries));
    unit_ends_[static_cast<std::size_t>(s)] = blocks;
    work += static_cast<std::int64_t>(count) * (a.batch.first_position[s] + count);
  }
  const std::int32_t total = blocks * a.kv.kv_heads;
  const auto run_unit = [this, &a, total, queries](std::int32_t unit, std::int32_t thread) {
    // Late blocks of a prompt cost most, so they are handed out first.
    const attention_unit where = locate(a, total - 1 - unit, queries);
    ops_.attention(a, where, scratch_[static_cast<std::size_t>(thread)].for_attention());
  };
  if (work * a.heads * a.kv.head_dim < share_threshold) {
    for (std::int32_t unit = 0; unit < total; ++unit) {
      run_unit(unit, 0);
    }
    return;
  }
  for (std::int32_t first = 0; first < total; first += thread_team::units_max) {
    team_.run(std::min(total - first, thread_team::units_max),
              [&run_unit, first](std::int32_t unit, std::int32_t thread) {
                run_unit(first + unit, thread);
              });
  }
}

} // namespace

std::unique_ptr<backend> make_cpu_backend(const cpu_backend_config& config) {
  VDIST_CONTRACT("make_cpu_backend", config.threads >= 1);
  VDIST_CONTRACT("make_cpu_backend",
                 config.max_positions >= 1 && config.max_tokens >= 1 && config.max_features >= 1);
  return std::make_unique<cpu_backend>(config);
}

} // namespace vdist::kernels
