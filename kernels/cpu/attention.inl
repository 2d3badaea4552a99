// kernels/cpu/attention.inl — one unit: (query, head) pairs that read one kv head, in three parts.
//
// Scores: row r of the scratch holds scale * <q_r, k_j> at column j - base; base is the first
// visited position rounded down to a multiple of 16, so that lane = j % 16. Columns that row r does
// not see hold -infinity. With few rows a key's lanes are multiplied and sixteen keys are reduced
// at once. With many rows sixteen keys are transposed once, each lane of the dot product (N-2)
// becomes a register over keys, and the tree over lanes is vertical adds.
//
// Softmax: maximum, e^(s - max), sum with lane j % 16; unseen columns add exactly zero.
//
// Values: acc[d] = sum over rising j of e_j * v[j, d]; only seen positions are visited; then
// divided by the sum.

/// Replaces the scores of one row by e^(s - max); returns their sum.
inline float softmax_row(float* scores, std::int32_t width) {
  f32x16 most = f32x16::load(scores);
  for (std::int32_t i = 16; i < width; i += 16) {
    most = max(f32x16::load(scores + i), most);
  }
  const f32x16 shift = f32x16::set1(max_lanes(most));
  f32x16 sum = f32x16::zero();
  for (std::int32_t i = 0; i < width; i += 16) {
    const f32x16 e = exp(f32x16::load(scores + i) - shift);
    e.store(scores + i);
    sum = sum + e;
  }
  return sum_lanes(sum);
}

/// acc[r, d …] += e[r, j] * v[j, d …] for keys first … last-1 (indices into `values`), R rows, V
/// lane vectors from d.
template <dtype D, int R, int V>
inline void weigh(const typename stored<D>::type* const* values,
                  int first,
                  int last,
                  int d,
                  const float* e,
                  std::int64_t e_stride,
                  float* acc,
                  int acc_stride) {
  f32x16 sum[R * V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) {
      sum[r * V + i] = f32x16::load(acc + r * acc_stride + d + 16 * i);
    }
  }
  for (int j = first; j < last; ++j) {
    f32x16 v[V];
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) {
      v[i] = stored<D>::load(values[j] + d + 16 * i);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const f32x16 weight = f32x16::set1(e[r * e_stride + j]);
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) {
        sum[r * V + i] = fma(weight, v[i], sum[r * V + i]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) {
      sum[r * V + i].store(acc + r * acc_stride + d + 16 * i);
    }
  }
}

template <dtype D, int R>
inline void weigh_row(const typename stored<D>::type* const* values,
                      int first,
                      int last,
                      const float* e,
                      std::int64_t e_stride,
                      float* acc,
                      int padded_dim) {
  int d = 0;
  for (; d + 16 * attention_vectors <= padded_dim; d += 16 * attention_vectors) {
    weigh<D, R, attention_vectors>(values, first, last, d, e, e_stride, acc, padded_dim);
  }
  for (; d < padded_dim; d += 16) {
    weigh<D, R, 1>(values, first, last, d, e, e_stride, acc, padded_dim);
  }
}

/// R rows over the values of positions start … start+count-1. Rows see different ranges: what all
/// of them see is done together, what is before and behind one by one, so that each row meets its
/// positions in rising order.
template <dtype D, int R>
inline void weigh_rows(const attention_plan& plan,
                       int row,
                       std::int32_t start,
                       int count,
                       const typename stored<D>::type* const* values,
                       const attention_scratch& scratch) {
  const float* e = scratch.scores + row * plan.stride + (start - plan.base);
  float* acc = scratch.accumulators + row * plan.padded_dim;
  int first[R];
  int last[R];
  int common_first = 0;
  int common_last = count;
  for (int r = 0; r < R; ++r) {
    const attention_row& seen = plan.row[row + r];
    first[r] = seen.first > start ? seen.first - start : 0;
    last[r] = seen.last - start < count - 1 ? seen.last - start + 1 : count;
    common_first = first[r] > common_first ? first[r] : common_first;
    common_last = last[r] < common_last ? last[r] : common_last;
  }
  if (common_first >= common_last) {
    common_first = count; // nothing is common: everything counts as before
    common_last = count;
  }
  for (int r = 0; r < R; ++r) {
    const int end = last[r] < common_first ? last[r] : common_first;
    if (first[r] < end) {
      weigh_row<D, 1>(values,
                      first[r],
                      end,
                      e + r * plan.stride,
                      0,
                      acc + r * plan.padded_dim,
                      plan.padded_dim);
    }
  }
  if (common_first < common_last) {
    weigh_row<D, R>(values, common_first, common_last, e, plan.stride, acc, plan.padded_dim);
  }
  for (int r = 0; r < R; ++r) {
    if (common_last < last[r]) {
      weigh_row<D, 1>(values,
                      common_last,
                      last[r],
                      e + r * plan.stride,
                      0,
                      acc + r * plan.padded_dim,
                      plan.padded_dim);
    }
  }
}

template <dtype D>
inline void weigh_all(const attention_plan& plan,
                      std::int32_t start,
                      int count,
                      const typename stored<D>::type* const* values,
                      const attention_scratch& scratch) {
  int row = 0;
  for (; row + attention_rows <= plan.rows; row += attention_rows) {
    weigh_rows<D, attention_rows>(plan, row, start, count, values, scratch);
  }
  if constexpr (attention_rows > 4) {
    for (; row + 4 <= plan.rows; row += 4) {
      weigh_rows<D, 4>(plan, row, start, count, values, scratch);
    }
  }
  for (; row < plan.rows; ++row) {
    weigh_rows<D, 1>(plan, row, start, count, values, scratch);
  }
}

/// Converts `count` rows of values for use by many rows of weights; the zeros behind head_dim come
/// from here.
template <dtype D>
inline void widen_values(const typename stored<D>::type* const* values,
                         int count,
                         int head_dim,
                         int padded_dim,
                         float* out,
                         const float** rows) {
  for (int j = 0; j < count; ++j, out += padded_dim) {
    for (int d = 0; d < padded_dim; d += 16) {
      load_row<D>(values[j], d, head_dim).store(out + d);
    }
    rows[j] = out;
  }
}

template <dtype D>
void weigh_values(const attention_plan& plan,
                  const kv_head_view<D>& values,
                  const attention_scratch& scratch) {
  const typename stored<D>::type* value[2][attention_value_keys]; // this round's and the next one's
  int count[2];
  const auto fill = [&plan, &values, &value, &count](std::int32_t start, int which) {
    const std::int32_t left = plan.last - start + 1;
    count[which] = left < attention_value_keys ? (left > 0 ? left : 0) : attention_value_keys;
    values.pointers(start, count[which], value[which]);
  };
  // Widening pays when several groups of rows use it, and it pads a head_dim that is no multiple
  // of 16.
  const bool is_direct = values.head_dim == plan.padded_dim && plan.rows <= attention_rows;
  const std::int32_t first = plan.row[0].first;
  fill(first, 0);
  int now = 0;
  for (std::int32_t start = first; start <= plan.last; start += attention_value_keys, now ^= 1) {
    fill(start + attention_value_keys, now ^ 1);
    prefetch_rows<D>(value[now ^ 1], count[now ^ 1], values.head_dim);
    if (is_direct) {
      weigh_all<D>(plan, start, count[now], value[now], scratch);
      continue;
    }
    const float* widened[attention_value_keys];
    widen_values<D>(
        value[now], count[now], values.head_dim, plan.padded_dim, scratch.values, widened);
    weigh_all<dtype::float32>(plan, start, count[now], widened, scratch);
  }
}

/// Rows in order of (query, head): neighbours see nearly the same positions. Copies the queries,
/// padded with zeros.
inline attention_plan
plan_unit(const attention_args& a, const attention_unit& unit, const attention_scratch& scratch) {
  const int group = a.heads / a.kv.kv_heads;
  const int head_dim = a.kv.head_dim;
  attention_plan plan;
  plan.args = &a;
  plan.rows = unit.query_count * group;
  plan.padded_dim = (head_dim + 15) / 16 * 16;
  const std::int32_t position =
      a.batch.first_position[unit.sequence] + unit.query_first - a.batch.query_start[unit.sequence];
  for (int r = 0; r < plan.rows; ++r) {
    const int query = r / group;
    const std::int32_t last = position + query;
    const std::int32_t first = a.window > 0 && last >= a.window ? last - a.window + 1 : 0;
    plan.row[r] = {first, last};
    const std::int64_t head =
        (static_cast<std::int64_t>(unit.kv_head) * group + r % group) * head_dim;
    const float* q = a.q.as<float>() + (unit.query_first + query) * a.q_stride + head;
    float* to = scratch.queries + r * plan.padded_dim;
    for (int d = 0; d < plan.padded_dim; d += 16) {
      load_row<dtype::float32>(q, d, head_dim).store(to + d);
    }
    plan.out[r] = a.out.as<float>() + (unit.query_first + query) * a.out_stride + head;
  }
  plan.base = plan.row[0].first / 16 * 16;
  plan.last = plan.row[plan.rows - 1].last;
  plan.width = (plan.last - plan.base + 16) / 16 * 16;
  plan.stride = plan.width + 16; // rows do not share cache sets
  return plan;
}

template <dtype D>
kv_head_view<D> view_of(const attention_args& a, const attention_unit& unit, const void* base) {
  const std::int64_t head = static_cast<std::int64_t>(a.kv.block_size) * a.kv.head_dim;
  return {.base = static_cast<const typename stored<D>::type*>(base),
          .blocks = a.batch.blocks_of(unit.sequence),
          .block_stride = head * a.kv.kv_heads,
          .head_offset = head * unit.kv_head,
          .block_size = a.kv.block_size,
          .head_dim = a.kv.head_dim};
}

void attention(const attention_args& a,
               const attention_unit& unit,
               const attention_scratch& scratch) {
  constexpr int transposing_pays_rows = 8;
  const attention_plan plan = plan_unit(a, unit, scratch);
  for (int i = 0; i < plan.rows * plan.padded_dim; i += 16) {
    f32x16::zero().store(scratch.accumulators + i);
  }
  with_dtype(a.kv.type, [&a, &unit, &plan, &scratch](auto type) {
    constexpr dtype D = decltype(type)::value;
    const kv_head_view<D> keys = view_of<D>(a, unit, a.kv.keys);
    if (plan.rows < transposing_pays_rows) {
      score_few<D>(plan, keys, scratch);
    } else {
      score_many<D>(plan, keys, scratch);
    }
  });
  float sums[attention_unit_rows];
  for (int r = 0; r < plan.rows; ++r) {
    sums[r] = softmax_row(scratch.scores + r * plan.stride, plan.width);
  }
  with_dtype(a.kv.type, [&a, &unit, &plan, &scratch](auto type) {
    constexpr dtype D = decltype(type)::value;
    weigh_values<D>(plan, view_of<D>(a, unit, a.kv.values), scratch);
  });
  for (int r = 0; r < plan.rows; ++r) {
    const f32x16 sum = f32x16::set1(sums[r]);
    for (int d = 0; d < a.kv.head_dim; d += 16) {
      const f32x16 weighted = f32x16::load(scratch.accumulators + r * plan.padded_dim + d);
      store_row(weighted / sum, plan.out[r], d, a.kv.head_dim);
    }
  }
}
