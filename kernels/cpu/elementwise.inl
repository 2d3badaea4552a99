// kernels/cpu/elementwise.inl — norms, rotary embedding, activations, cache writes and table
// look-ups, row by row.

void rms_norm(const rms_norm_args& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t t = first; t < last; ++t) {
    const float* x = a.x.as<float>() + t * a.x_stride;
    float* y = a.y.as<float>() + t * a.y_stride;
    f32x16 squares = f32x16::zero();
    for (int i = 0; i < a.width; i += 16) {
      const f32x16 v = load_row<dtype::float32>(x, i, a.width);
      squares = fma(v, v, squares);
    }
    const float mean = sum_lanes(squares) / static_cast<float>(a.width);
    const f32x16 scale = f32x16::set1(1.0F / __builtin_sqrtf(mean + a.eps));
    for (int i = 0; i < a.width; i += 16) {
      const f32x16 v = load_row<dtype::float32>(x, i, a.width) * scale;
      store_row(v * load_row<dtype::float32>(a.weight, i, a.width), y, i, a.width);
    }
  }
}

void layer_norm(const layer_norm_args& a, std::int32_t first, std::int32_t last) {
  const auto width = static_cast<float>(a.width);
  for (std::int32_t t = first; t < last; ++t) {
    const float* x = a.x.as<float>() + t * a.x_stride;
    float* y = a.y.as<float>() + t * a.y_stride;
    f32x16 sum = f32x16::zero();
    for (int i = 0; i < a.width; i += 16) {
      sum = sum + load_row<dtype::float32>(x, i, a.width);
    }
    const f32x16 mean = f32x16::set1(sum_lanes(sum) / width);
    f32x16 squares = f32x16::zero();
    for (int i = 0; i < a.width; i += 16) {
      const int n = a.width - i < 16 ? a.width - i : 16;
      const f32x16 d =
          keep_lanes(load_row<dtype::float32>(x, i, a.width) - mean, 0, n, f32x16::zero());
      squares = fma(d, d, squares);
    }
    const float variance = sum_lanes(squares) / width;
    const f32x16 scale = f32x16::set1(1.0F / __builtin_sqrtf(variance + a.eps));
    for (int i = 0; i < a.width; i += 16) {
      const f32x16 normal = (load_row<dtype::float32>(x, i, a.width) - mean) * scale;
      const f32x16 weight = load_row<dtype::float32>(a.weight, i, a.width);
      const f32x16 bias =
          a.bias != nullptr ? load_row<dtype::float32>(a.bias, i, a.width) : f32x16::zero();
      store_row(fma(normal, weight, bias), y, i, a.width);
    }
  }
}

void rope(const rope_args& a, std::int32_t first, std::int32_t last) {
  const int half = a.rotary_dim / 2;
  for (std::int32_t t = first; t < last; ++t) {
    const float* cos = a.cos_table + static_cast<std::int64_t>(a.positions[t]) * half;
    const float* sin = a.sin_table + static_cast<std::int64_t>(a.positions[t]) * half;
    for (std::int32_t head = 0; head < a.heads; ++head) {
      float* x = a.x.as<float>() + t * a.x_stride + static_cast<std::int64_t>(head) * a.head_dim;
      for (int i = 0; i < half; i += 16) {
        const f32x16 c = load_row<dtype::float32>(cos, i, half);
        const f32x16 s = load_row<dtype::float32>(sin, i, half);
        const f32x16 left = load_row<dtype::float32>(x, i, half);
        const f32x16 right = load_row<dtype::float32>(x + half, i, half);
        store_row(fma(left, c, f32x16::zero() - right * s), x, i, half);
        store_row(fma(right, c, left * s), x + half, i, half);
      }
    }
  }
}

template <dtype D>
void append_token(const kv_append_args& a, std::int32_t token, std::int32_t sequence) {
  using type = typename stored<D>::type;
  const paged_kv& kv = a.kv;
  const std::int32_t position =
      a.batch.first_position[sequence] + token - a.batch.query_start[sequence];
  const std::int64_t block = a.batch.blocks_of(sequence)[position / kv.block_size];
  for (std::int32_t head = 0; head < kv.kv_heads; ++head) {
    const std::int64_t row =
        (block * kv.kv_heads + head) * kv.block_size + position % kv.block_size;
    const std::int64_t from = static_cast<std::int64_t>(head) * kv.head_dim;
    const float* k = a.k.as<float>() + token * a.k_stride + from;
    const float* v = a.v.as<float>() + token * a.v_stride + from;
    type* keys = static_cast<type*>(kv.keys) + row * kv.head_dim;
    type* values = static_cast<type*>(kv.values) + row * kv.head_dim;
    for (int i = 0; i < kv.head_dim; i += 16) {
      const int n = kv.head_dim - i < 16 ? kv.head_dim - i : 16;
      store_n<D>(f32x16::load_n(k + i, n), keys + i, n);
      store_n<D>(f32x16::load_n(v + i, n), values + i, n);
    }
  }
}

void kv_append(const kv_append_args& a, std::int32_t first, std::int32_t last) {
  with_dtype(a.kv.type, [&a, first, last](auto type) {
    std::int32_t sequence = 0;
    for (std::int32_t t = first; t < last; ++t) {
      while (a.batch.query_start[sequence + 1] <= t) {
        ++sequence;
      }
      append_token<decltype(type)::value>(a, t, sequence);
    }
  });
}

inline f32x16 apply_activation(activation_kind kind, f32x16 x) {
  const f32x16 zero = f32x16::zero();
  const f32x16 one = f32x16::set1(1.0F);
  const f32x16 half = f32x16::set1(0.5F);
  switch (kind) {
  case activation_kind::silu:
    return x / (one + exp(zero - x));
  case activation_kind::gelu_tanh: {
    const f32x16 cubic = fma(x * x * x, f32x16::set1(0.044715F), x);
    return half * x * (one + tanh(cubic * f32x16::set1(0.797884583F)));
  }
  case activation_kind::gelu_erf:
    return half * x * (one + erf(x * f32x16::set1(0.707106769F)));
  case activation_kind::relu:
    return select_less(x, zero, zero, x); // keeps NaN
  }
  return x;
}

void gated_activation(const gated_activation_args& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t t = first; t < last; ++t) {
    const float* gate = a.gate_up.as<float>() + t * a.x_stride;
    const float* up = gate + a.width;
    float* y = a.y.as<float>() + t * a.y_stride;
    for (int i = 0; i < a.width; i += 16) {
      const f32x16 f = apply_activation(a.kind, load_row<dtype::float32>(gate, i, a.width));
      store_row(f * load_row<dtype::float32>(up, i, a.width), y, i, a.width);
    }
  }
}

void activation(const activation_args& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t t = first; t < last; ++t) {
    float* x = a.x.as<float>() + t * a.x_stride;
    for (int i = 0; i < a.width; i += 16) {
      store_row(apply_activation(a.kind, load_row<dtype::float32>(x, i, a.width)), x, i, a.width);
    }
  }
}

void add_residual(const add_residual_args& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t t = first; t < last; ++t) {
    float* hidden = a.hidden.as<float>() + t * a.hidden_stride;
    const float* delta = a.delta.as<float>() + t * a.delta_stride;
    for (int i = 0; i < a.width; i += 16) {
      f32x16 d = load_row<dtype::float32>(delta, i, a.width);
      if (a.bias != nullptr) {
        d = d + load_row<dtype::float32>(a.bias, i, a.width);
      }
      store_row(load_row<dtype::float32>(hidden, i, a.width) + d, hidden, i, a.width);
    }
  }
}

void embedding(const embedding_args& a, std::int32_t first, std::int32_t last) {
  with_dtype(a.type, [&a, first, last](auto type) {
    constexpr dtype D = decltype(type)::value;
    const auto* table = static_cast<const typename stored<D>::type*>(a.table);
    for (std::int32_t t = first; t < last; ++t) {
      const std::int64_t row = static_cast<std::int64_t>(a.ids[t]) - a.first_row;
      const bool is_here = row >= 0 && row < a.rows;
      const auto* from = table + (is_here ? row : 0) * a.width;
      for (int i = 0; i < a.width; i += 16) {
        store_row(is_here ? load_row<D>(from, i, a.width) : f32x16::zero(),
                  a.y.as<float>() + t * a.y_stride,
                  i,
                  a.width);
      }
    }
  });
}

void position_embedding(const position_embedding_args& a, std::int32_t first, std::int32_t last) {
  with_dtype(a.type, [&a, first, last](auto type) {
    constexpr dtype D = decltype(type)::value;
    const auto* table = static_cast<const typename stored<D>::type*>(a.table);
    for (std::int32_t t = first; t < last; ++t) {
      const auto* from = table + (static_cast<std::int64_t>(a.positions[t]) + a.offset) * a.width;
      float* y = a.y.as<float>() + t * a.y_stride;
      for (int i = 0; i < a.width; i += 16) {
        store_row(
            load_row<dtype::float32>(y, i, a.width) + load_row<D>(from, i, a.width), y, i, a.width);
      }
    }
  });
}

void gather_rows(const gather_rows_args& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t i = first; i < last; ++i) {
    std::memcpy(a.y.as<float>() + static_cast<std::int64_t>(i) * a.width,
                a.x.as<float>() + (a.indices == nullptr ? i : a.indices[i]) * a.x_stride,
                static_cast<std::size_t>(a.width) * sizeof(float));
  }
}
