// kernels/cpu/linear_panel.inl — the way of linear.inl for many tokens.
//
// Loops, from outside: super group of rows > segment of k > group of tile_outs rows (widened into
// the panel, L1) > block of tile_tokens packed tokens (streams from L2) > leaves in the segment.
// Lane accumulators of a leaf that goes on in the next segment rest in scratch, unreduced, so
// segments leave no trace in the bits.

void linear_pack(const linear_args& a,
                 const linear_chunk& chunk,
                 std::int32_t block_first,
                 std::int32_t block_last,
                 float* packed_x) {
  const linear_layout layout(a);
  for (std::int32_t block = block_first; block < block_last; ++block) {
    const std::int32_t token = block * tile_tokens;
    const std::int32_t tokens =
        chunk.tokens - token < tile_tokens ? chunk.tokens - token : tile_tokens;
    float* out = packed_x + token * layout.steps * lanes;
    for (std::int32_t t = 0; t < tokens; ++t) {
      const float* x = a.x.as<float>() + (chunk.first_token + token + t) * a.x_stride;
      float* to = out + t * lanes;
      for (std::int32_t leaf = 0; leaf < a.reduction_leaves; ++leaf, x += layout.leaf) {
        for (std::int32_t i = 0; i < layout.leaf; i += lanes, to += tokens * lanes) {
          load_row<dtype::float32>(x, i, layout.leaf).store(to);
        }
      }
    }
  }
}

/// Widens lane vectors first … last-1 of `rows` weight rows from `out` into panel
/// [step][tile_outs][lanes]; rows that do not exist become zeros.
template <dtype D>
void fill_panel(const linear_args& a,
                const linear_layout& layout,
                std::int32_t out,
                int rows,
                std::int64_t first,
                std::int64_t last,
                float* panel) {
  const auto* weight = static_cast<const typename stored<D>::type*>(a.weight)
                       + static_cast<std::int64_t>(out) * a.in_features;
  if (rows == tile_outs && layout.leaf % lanes == 0) { // leaves follow each other without padding
    for (std::int64_t s = first; s < last; ++s) {
#pragma GCC unroll 8
      for (int r = 0; r < tile_outs; ++r, panel += lanes) {
        stored<D>::load(weight + r * static_cast<std::int64_t>(a.in_features) + s * lanes)
            .store(panel);
      }
    }
    return;
  }
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t leaf = s / layout.leaf_steps;
    const auto i = static_cast<std::int32_t>(s - leaf * layout.leaf_steps) * lanes;
    for (int r = 0; r < tile_outs; ++r, panel += lanes) {
      const auto* row = weight + r * static_cast<std::int64_t>(a.in_features) + leaf * layout.leaf;
      (r < rows ? load_row<D>(row, i, layout.leaf) : f32x16::zero()).store(panel);
    }
  }
}

/// Fetches the next panel's weights a few cache lines at a time while the current panel is computed
/// with, so that neither waits for the other. Runs row by row over pieces of `row_lines` lines.
struct weight_prefetch {
  const char* at;
  std::int32_t lines_left; // of the current row
  std::int32_t row_lines;
  std::int64_t row_gap; // bytes from the end of one piece to the start of the next
  std::int32_t rows_left;
  std::int32_t burst; // lines per tile_batch steps

  void advance() {
    for (std::int32_t i = 0; i < burst && rows_left > 0; ++i) {
      prefetch(at);
      at += 64;
      if (--lines_left == 0) {
        at += row_gap;
        lines_left = row_lines;
        --rows_left;
      }
    }
  }
};

constexpr std::int64_t tile_batch = 8; // steps between two bursts

/// acc += x * panel over `steps` lane vectors; acc is [T][tile_outs].
template <int T>
inline void panel_tile(const float* x,
                       const float* panel,
                       std::int64_t steps,
                       weight_prefetch& next,
                       f32x16 (&acc)[T * tile_outs]) {
  for (std::int64_t s = 0; s < steps;) {
    const std::int64_t end = steps - s < tile_batch ? steps : s + tile_batch;
    for (; s < end; ++s) {
      f32x16 ws[tile_outs];
#pragma GCC unroll 8
      for (int r = 0; r < tile_outs; ++r) {
        ws[r] = f32x16::load(panel + r * lanes);
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const f32x16 xs = f32x16::load(x + t * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < tile_outs; ++r) {
          acc[t * tile_outs + r] = fma(xs, ws[r], acc[t * tile_outs + r]);
        }
      }
      panel += tile_outs * lanes;
      x += T * lanes;
    }
    next.advance();
  }
}

/// Where one tile of outputs lies, and what it carries from segment to segment.
struct panel_place {
  std::int32_t token;
  std::int32_t out;
  int outs;
  std::int64_t first; // lane vectors of this segment
  std::int64_t last;
  float* accumulators; // [T * tile_outs][lanes]
  float* leaf_sums;    // [linear_leaf_levels][T * tile_outs]
  weight_prefetch* next;
};

/// Runs one token block over one segment, leaf by leaf. x points at the block's first lane vector
/// of the row.
template <int T>
void panel_block(const linear_args& a,
                 const linear_layout& layout,
                 const panel_place& place,
                 const float* x,
                 const float* panel) {
  constexpr int n = T * tile_outs;
  for (std::int64_t s = place.first; s < place.last;) {
    const std::int64_t leaf = s / layout.leaf_steps;
    const std::int64_t leaf_end = (leaf + 1) * layout.leaf_steps;
    const std::int64_t end = leaf_end < place.last ? leaf_end : place.last;
    f32x16 acc[n];
    const bool is_fresh = s == leaf * layout.leaf_steps;
#pragma GCC unroll 64
    for (int i = 0; i < n; ++i) {
      acc[i] = is_fresh ? f32x16::zero() : f32x16::load(place.accumulators + i * lanes);
    }
    panel_tile<T>(x + s * T * lanes,
                  panel + (s - place.first) * tile_outs * lanes,
                  end - s,
                  *place.next,
                  acc);
    if (end == leaf_end) {
      float sums[padded_to_lanes(n)];
      sum_tile(acc, sums);
      const float* total = close_leaf(place.leaf_sums, static_cast<std::int32_t>(leaf), sums, n);
      if (leaf + 1 == a.reduction_leaves) {
        write_outputs<tile_outs>(a, place.token, T, place.out, place.outs, total);
      }
    } else {
#pragma GCC unroll 64
      for (int i = 0; i < n; ++i) {
        acc[i].store(place.accumulators + i * lanes);
      }
    }
    s = end;
  }
}

template <int T>
inline void panel_dispatch(const linear_args& a,
                           const linear_layout& layout,
                           const panel_place& place,
                           int tokens,
                           const float* x,
                           const float* panel) {
  if constexpr (T > 1) {
    if (tokens < T) {
      panel_dispatch<T - 1>(a, layout, place, tokens, x, panel);
      return;
    }
  }
  panel_block<T>(a, layout, place, x, panel);
}

/// All token blocks of the chunk against one filled panel.
inline void panel_blocks(const linear_args& a,
                         const linear_layout& layout,
                         const linear_chunk& chunk,
                         panel_place place,
                         const float* panel) {
  for (std::int32_t token = 0; token < chunk.tokens; token += tile_tokens) {
    const int tokens = chunk.tokens - token < tile_tokens ? chunk.tokens - token : tile_tokens;
    place.token = chunk.first_token + token;
    panel_dispatch<tile_tokens>(
        a, layout, place, tokens, chunk.packed_x + token * layout.steps * lanes, panel);
    place.accumulators += tile_tokens * tile_outs * lanes;
    place.leaf_sums += tile_tokens * tile_outs * linear_leaf_levels;
  }
}

/// The weights of lane vectors first … last-1 of the rows from `out`, spread over the batches of
/// all token blocks.
inline weight_prefetch next_panel(const linear_args& a,
                                  const linear_layout& layout,
                                  std::int32_t out,
                                  std::int64_t first,
                                  std::int64_t last,
                                  std::int32_t tokens) {
  const auto element = static_cast<std::int64_t>(size_of(a.weight_dtype));
  const std::int64_t from =
      first / layout.leaf_steps * layout.leaf + first % layout.leaf_steps * lanes;
  const auto row_lines = static_cast<std::int32_t>((last - first) * lanes * element / 64);
  const std::int64_t batches =
      (last - first + tile_batch - 1) / tile_batch * ((tokens + tile_tokens - 1) / tile_tokens);
  const std::int32_t lines = row_lines * tile_outs;
  return {.at = static_cast<const char*>(a.weight)
                + (static_cast<std::int64_t>(out) * a.in_features + from) * element,
          .lines_left = row_lines,
          .row_lines = row_lines,
          .row_gap = a.in_features * element - static_cast<std::int64_t>(row_lines) * 64,
          .rows_left = row_lines > 0 && out + tile_outs <= a.out_features ? tile_outs : 0,
          .burst = static_cast<std::int32_t>((lines + batches - 1) / batches)};
}

void linear_panel(const linear_args& a,
                  const linear_chunk& chunk,
                  std::int32_t out_first,
                  std::int32_t out_last,
                  const linear_scratch& scratch) {
  const linear_layout layout(a);
  const std::int64_t steps_max =
      chunk.tokens <= linear_few_tokens ? linear_segment_steps_few : linear_segment_steps;
  const std::int64_t segments = (layout.steps + steps_max - 1) / steps_max;
  const std::int64_t segment_steps = (layout.steps + segments - 1) / segments;
  constexpr std::int32_t super_outs = linear_super_groups * tile_outs;
  constexpr std::int64_t group_outputs = static_cast<std::int64_t>(linear_chunk_tokens) * tile_outs;
  for (std::int32_t super = out_first; super < out_last; super += super_outs) {
    const std::int32_t super_last = out_last - super < super_outs ? out_last : super + super_outs;
    for (std::int64_t first = 0; first < layout.steps; first += segment_steps) {
      const std::int64_t last =
          layout.steps - first < segment_steps ? layout.steps : first + segment_steps;
      std::int64_t group = 0;
      for (std::int32_t out = super; out < super_last; out += tile_outs, ++group) {
        const int outs = super_last - out < tile_outs ? super_last - out : tile_outs;
        weight_prefetch next = next_panel(a, layout, out + tile_outs, first, last, chunk.tokens);
        with_dtype(a.weight_dtype, [&a, &layout, &scratch, out, outs, first, last](auto type) {
          fill_panel<decltype(type)::value>(a, layout, out, outs, first, last, scratch.panel);
        });
        const panel_place place{
            .token = 0,
            .out = out,
            .outs = outs,
            .first = first,
            .last = last,
            .accumulators = scratch.accumulators + group * group_outputs * lanes,
            .leaf_sums = scratch.leaf_sums + group * group_outputs * linear_leaf_levels,
            .next = &next};
        panel_blocks(a, layout, chunk, place, scratch.panel);
      }
    }
  }
}
