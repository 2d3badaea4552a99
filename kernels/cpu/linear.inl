// kernels/cpu/linear.inl — y = x Wᵀ with a fixed order of summation (N-2, N-3), in two ways that
// give the same bits. Every output has its own lane accumulators, so neither blocking nor threads
// touch the order of its sum.
//
// Direct, for few tokens: a group of weight rows streams once from memory and is widened in
// registers; bound by reading.
//
// Panel, for many tokens (linear_panel.inl): rows of x are packed once per chunk; a group of weight
// rows is widened into an L1-resident panel that all token blocks of the chunk reuse; tile_tokens *
// tile_outs accumulators stay in registers.

/// Adds the finished leaf `leaf` of n outputs into the tree; `levels` is [linear_leaf_levels][n].
/// Returns the row that holds the sum of the subtree just closed; after the last leaf that is the
/// total.
inline float* close_leaf(float* levels, std::int32_t leaf, float* sums, int n) {
  int level = 0;
  for (; ((leaf >> level) & 1) != 0; ++level) {
    const float* left = levels + level * n;
    for (int i = 0; i < n; ++i) {
      sums[i] = left[i] + sums[i];
    }
  }
  float* row = levels + level * n;
  for (int i = 0; i < n; ++i) {
    row[i] = sums[i];
  }
  return row;
}

constexpr int padded_to_lanes(int n) {
  return (n + lanes - 1) / lanes * lanes;
}

/// sums[i] = sum_lanes(acc[i]); what lies behind N in the last lane vector is unspecified.
template <int N>
[[gnu::always_inline]] inline void sum_tile(const f32x16 (&acc)[N],
                                            float (&sums)[padded_to_lanes(N)]) {
  constexpr int rest = N % lanes;
#pragma GCC unroll 4
  for (int i = 0; i + lanes <= N; i += lanes) {
    sum_lanes_16(acc + i).store(sums + i);
  }
  if constexpr (rest == 8) {
    sum_lanes_8(acc + (N - rest)).store(sums + (N - rest));
  } else if constexpr (rest > 3) {
    f32x16 padded[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      padded[i] = i < rest ? acc[N - rest + i] : f32x16::zero();
    }
    sum_lanes_16(padded).store(sums + (N - rest));
  } else {
    for (int i = N - rest; i < N; ++i) {
      sums[i] = sum_lanes(acc[i]);
    }
  }
}

/// sums is [tokens][R]; the first `outs` columns are written.
template <int R>
inline void write_outputs(const linear_args& a,
                          std::int32_t token,
                          int tokens,
                          std::int32_t out,
                          int outs,
                          const float* sums) {
  for (int t = 0; t < tokens; ++t) {
    float* y = a.y.as<float>() + (token + t) * a.y_stride + out;
    for (int r = 0; r < outs; ++r) {
      y[r] = a.bias != nullptr ? sums[t * R + r] + a.bias[out + r] : sums[t * R + r];
    }
  }
}

// ---------------------------------------------------------------------------------------------------------

template <dtype D, int T, int R>
inline void direct_step(const typename stored<D>::type* const (&w)[R],
                        const float* const (&x)[T],
                        std::int64_t k,
                        f32x16 (&acc)[T * R]) {
  f32x16 xs[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    xs[t] = f32x16::load(x[t] + k);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const f32x16 ws = stored<D>::load(w[r] + k);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      acc[t * R + r] = fma(xs[t], ws, acc[t * R + r]);
    }
  }
}

/// One leaf of T tokens and R rows; the weights of the next group of rows are fetched meanwhile.
template <dtype D, int T, int R>
inline void direct_leaf(const typename stored<D>::type* const (&w)[R],
                        const float* const (&x)[T],
                        std::int64_t first,
                        std::int32_t leaf,
                        std::int64_t ahead,
                        float (&sums)[padded_to_lanes(T * R)]) {
  constexpr int line = static_cast<int>(64 / sizeof(typename stored<D>::type));
  f32x16 acc[T * R];
#pragma GCC unroll 64
  for (int i = 0; i < T * R; ++i) {
    acc[i] = f32x16::zero();
  }
  std::int64_t k = first;
  const std::int64_t last = first + leaf;
  for (; k + line <= last; k += line) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      prefetch(w[r] + k + ahead);
    }
#pragma GCC unroll 2
    for (int step = 0; step < line; step += 16) {
      direct_step<D, T, R>(w, x, k + step, acc);
    }
  }
  for (; k + 16 <= last; k += 16) {
    direct_step<D, T, R>(w, x, k, acc);
  }
  if (k < last) {
    const int n = static_cast<int>(last - k);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const f32x16 ws = stored<D>::load_n(w[r] + k, n);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        acc[t * R + r] = fma(f32x16::load_n(x[t] + k, n), ws, acc[t * R + r]);
      }
    }
  }
  sum_tile(acc, sums);
}

template <dtype D, int T>
void direct_tokens(const linear_args& a, std::int32_t token, std::int32_t out, std::int32_t outs) {
  constexpr int R = direct_outs(T);
  const auto* weight = static_cast<const typename stored<D>::type*>(a.weight);
  const linear_layout layout(a);
  const float* x[T];
  for (int t = 0; t < T; ++t) {
    x[t] = a.x.as<float>() + (token + t) * a.x_stride;
  }
  const std::int64_t ahead = static_cast<std::int64_t>(R) * a.in_features;
  float levels[linear_leaf_levels * T * R];
  for (std::int32_t o = 0; o < outs; o += R) {
    const int valid = outs - o < R ? outs - o : R;
    const typename stored<D>::type* w[R];
    for (int r = 0; r < R;
         ++r) { // rows behind the range repeat the last one; their sums are dropped
      w[r] =
          weight + static_cast<std::int64_t>(out + o + (r < valid ? r : valid - 1)) * a.in_features;
    }
    const float* total = levels;
    for (std::int32_t leaf = 0; leaf < a.reduction_leaves; ++leaf) {
      float sums[padded_to_lanes(T * R)];
      const std::int64_t first = static_cast<std::int64_t>(leaf) * layout.leaf;
      direct_leaf<D, T, R>(w, x, first, layout.leaf, ahead, sums);
      total = close_leaf(levels, leaf, sums, T * R);
    }
    write_outputs<R>(a, token, T, out + o, valid, total);
  }
}

template <dtype D, int T>
inline void direct_dispatch(const linear_args& a,
                            std::int32_t token,
                            std::int32_t tokens,
                            std::int32_t out,
                            std::int32_t outs) {
  if constexpr (T > 1) {
    if (tokens < T) {
      direct_dispatch<D, T - 1>(a, token, tokens, out, outs);
      return;
    }
  }
  direct_tokens<D, T>(a, token, out, outs);
}

constexpr int direct_tile = tile_tokens < 4 ? tile_tokens : 4;

void linear_direct(const linear_args& a, std::int32_t out_first, std::int32_t out_last) {
  constexpr std::int32_t rows_at_once = 8; // stays in L1 or L2 for the next block of tokens
  with_dtype(a.weight_dtype, [&a, out_first, out_last](auto type) {
    const std::int32_t step = a.tokens <= direct_tile ? out_last - out_first : rows_at_once;
    for (std::int32_t out = out_first; out < out_last; out += step) {
      const std::int32_t outs = out_last - out < step ? out_last - out : step;
      for (std::int32_t token = 0; token < a.tokens; token += direct_tile) {
        direct_dispatch<decltype(type)::value, direct_tile>(a, token, a.tokens - token, out, outs);
      }
    }
  });
}
