// kernels/cpu/attention_scores.inl — the first third of attention.inl: where keys lie, which
// positions a row sees, and the scores of a row. Included as simd_portable.inl is.

struct attention_row {
  std::int32_t first; // first position seen
  std::int32_t last;  // position of the query; seen
};

/// Byte-free view of one kv head of one sequence: where the elements of position j start.
template <dtype D>
struct kv_head_view {
  using type = typename stored<D>::type;
  const type* base;
  const std::int32_t* blocks;
  std::int64_t block_stride; // elements between blocks
  std::int64_t head_offset;
  std::int32_t block_size;
  std::int32_t head_dim;

  /// Starts of positions first … first+count-1.
  void pointers(std::int32_t first, std::int32_t count, const type** out) const {
    std::int32_t block = first / block_size;
    std::int32_t offset = first - block * block_size;
    for (std::int32_t i = 0; i < count;) {
      const type* p = base + blocks[block] * block_stride + head_offset
                      + static_cast<std::int64_t>(offset) * head_dim;
      for (; i < count && offset < block_size; ++i, ++offset, p += head_dim) {
        out[i] = p;
      }
      ++block;
      offset = 0;
    }
  }
};

/// Asks for the rows at `rows`, which the next round of a loop over positions will read.
template <dtype D>
inline void prefetch_rows(const typename stored<D>::type* const* rows, int count, int head_dim) {
  const auto bytes = static_cast<std::int64_t>(sizeof(typename stored<D>::type)) * head_dim;
  for (int j = 0; j < count; ++j) {
    for (std::int64_t at = 0; at < bytes; at += 64) {
      prefetch(reinterpret_cast<const char*>(rows[j]) + at);
    }
  }
}

struct attention_plan {
  const attention_args* args;
  int rows;
  std::int32_t base;  // multiple of 16
  std::int32_t last;  // largest position
  std::int32_t width; // columns of scores, multiple of 16
  std::int64_t stride;
  int padded_dim; // head_dim rounded up to 16
  attention_row row[attention_unit_rows];
  float* out[attention_unit_rows];
};

/// Dot products of R rows with up to sixteen keys: dots[r] holds those of row r; missing keys give
/// zero.
template <dtype D, int R>
inline void score_keys(const float* q,
                       int padded_dim,
                       const typename stored<D>::type* const* keys,
                       int count,
                       int head_dim,
                       f32x16 (&dots)[R]) {
  f32x16 acc[R][16];
  for (int j = 0; j < 16; ++j) {
    f32x16 sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sum[r] = f32x16::zero();
    }
    if (j < count) {
      for (int d = 0; d < head_dim; d += 16) {
        const f32x16 k = load_row<D>(keys[j], d, head_dim);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          sum[r] = fma(f32x16::load(q + r * padded_dim + d), k, sum[r]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      acc[r][j] = sum[r];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    dots[r] = sum_lanes_16(acc[r]);
  }
}

/// Writes scaled scores of columns column … column+15 of row r, -infinity where r does not see the
/// position.
inline void
write_scores(const attention_plan& plan, int r, std::int32_t column, f32x16 dots, float* scores) {
  const std::int32_t position = plan.base + column;
  const attention_row& row = plan.row[r];
  const f32x16 scaled = dots * f32x16::set1(plan.args->scale);
  const int first =
      row.first > position ? (row.first - position < 16 ? row.first - position : 16) : 0;
  const int last =
      row.last < position ? 0 : (row.last - position < 15 ? row.last - position + 1 : 16);
  const bool is_whole = first == 0 && last == 16;
  const f32x16 unseen = f32x16::set1(-__builtin_inff());
  (is_whole ? scaled : keep_lanes(scaled, first, last, unseen))
      .store(scores + r * plan.stride + column);
}

template <dtype D, int R>
inline void score_few_rows(const attention_plan& plan,
                           int row,
                           std::int32_t column,
                           const typename stored<D>::type* const* keys,
                           int count,
                           const attention_scratch& scratch) {
  f32x16 dots[R];
  const float* q = scratch.queries + row * plan.padded_dim;
  score_keys<D, R>(q, plan.padded_dim, keys, count, plan.args->kv.head_dim, dots);
  for (int r = 0; r < R; ++r) {
    write_scores(plan, row + r, column, dots[r], scratch.scores);
  }
}

template <dtype D>
void score_few(const attention_plan& plan,
               const kv_head_view<D>& keys,
               const attention_scratch& scratch) {
  const typename stored<D>::type* key[2][16]; // this tile's and the next one's
  int count[2];
  const auto fill = [&plan, &keys, &key, &count](std::int32_t column, int which) {
    const std::int32_t left = plan.last - plan.base - column + 1;
    count[which] = left < 16 ? (left > 0 ? left : 0) : 16;
    keys.pointers(plan.base + column, count[which], key[which]);
  };
  fill(0, 0);
  int now = 0;
  for (std::int32_t column = 0; column < plan.width; column += 16, now ^= 1) {
    fill(column + 16, now ^ 1);
    prefetch_rows<D>(key[now ^ 1], count[now ^ 1], keys.head_dim);
    int row = 0;
    for (; row + 4 <= plan.rows; row += 4) {
      score_few_rows<D, 4>(plan, row, column, key[now], count[now], scratch);
    }
    for (; row < plan.rows; ++row) {
      score_few_rows<D, 1>(plan, row, column, key[now], count[now], scratch);
    }
  }
}

/// Lane `lane` (mod 4) of the dot products of R rows with sixteen keys: ((l) + (l+8)) + ((l+4) +
/// (l+12)).
template <int R>
inline void
score_quarter(const float* q, int padded_dim, const float* keys, int lane, f32x16 (&sum)[R]) {
  f32x16 acc[4 * R];
#pragma GCC unroll 32
  for (int i = 0; i < 4 * R; ++i) {
    acc[i] = f32x16::zero();
  }
  for (int d = lane; d < padded_dim; d += 16) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const f32x16 k = f32x16::load(keys + (d + 4 * i) * 16);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        acc[i * R + r] = fma(f32x16::set1(q[r * padded_dim + d + 4 * i]), k, acc[i * R + r]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    sum[r] = (acc[r] + acc[2 * R + r]) + (acc[R + r] + acc[3 * R + r]);
  }
}

template <int R>
inline void score_rows(const attention_plan& plan,
                       int row,
                       std::int32_t column,
                       const float* keys,
                       const attention_scratch& scratch) {
  const float* q = scratch.queries + row * plan.padded_dim;
  f32x16 a[R];
  f32x16 b[R];
  f32x16 even[R];
  score_quarter<R>(q, plan.padded_dim, keys, 0, a);
  score_quarter<R>(q, plan.padded_dim, keys, 2, b);
  for (int r = 0; r < R; ++r) {
    even[r] = a[r] + b[r];
  }
  score_quarter<R>(q, plan.padded_dim, keys, 1, a);
  score_quarter<R>(q, plan.padded_dim, keys, 3, b);
  for (int r = 0; r < R; ++r) {
    write_scores(plan, row + r, column, even[r] + (a[r] + b[r]), scratch.scores);
  }
}

template <dtype D>
void score_many(const attention_plan& plan,
                const kv_head_view<D>& keys,
                const attention_scratch& scratch) {
  const typename stored<D>::type* key[16];
  for (std::int32_t column = 0; column < plan.width; column += 16) {
    const std::int32_t position = plan.base + column;
    const int count = plan.last - position < 15 ? plan.last - position + 1 : 16;
    keys.pointers(position, count, key);
    for (int j = 0; j < 16; ++j) {
      for (int d = 0; d < plan.padded_dim; d += 16) {
        const f32x16 k = j < count ? load_row<D>(key[j], d, keys.head_dim) : f32x16::zero();
        k.store(scratch.tile + j * plan.padded_dim + d);
      }
    }
    for (int d = 0; d < plan.padded_dim; d += 16) {
      transpose_16(scratch.tile + d, plan.padded_dim, scratch.tile_transposed + d * 16);
    }
    int row = 0;
    for (; row + attention_rows <= plan.rows; row += attention_rows) {
      score_rows<attention_rows>(plan, row, column, scratch.tile_transposed, scratch);
    }
    for (; row < plan.rows; ++row) {
      score_rows<1>(plan, row, column, scratch.tile_transposed, scratch);
    }
  }
}
