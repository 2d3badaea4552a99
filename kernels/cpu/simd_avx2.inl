// kernels/cpu/simd_avx2.inl — sixteen float lanes in two ymm registers; meaning as in
// simd_portable.inl.

struct f32x16 {
  __m256 lo; // lanes 0 … 7
  __m256 hi; // lanes 8 … 15

  static f32x16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }

  static f32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

  static f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }

  static __m256i lanes_below(int n, int base) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - base), index);
  }

  static f32x16 load_n(const float* p, int n) {
    return {_mm256_maskload_ps(p, lanes_below(n, 0)), _mm256_maskload_ps(p + 8, lanes_below(n, 8))};
  }

  void store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }

  void store_n(float* p, int n) const {
    _mm256_maskstore_ps(p, lanes_below(n, 0), lo);
    _mm256_maskstore_ps(p + 8, lanes_below(n, 8), hi);
  }
};

inline f32x16 operator+(f32x16 a, f32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

inline f32x16 operator-(f32x16 a, f32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

inline f32x16 operator*(f32x16 a, f32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

inline f32x16 operator/(f32x16 a, f32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

inline f32x16 max(f32x16 a, f32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

inline f32x16 min(f32x16 a, f32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

inline f32x16 select_less(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
  return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}

inline f32x16 keep_lanes(f32x16 a, int first, int last, f32x16 b) {
  const auto half = [first, last](__m256 x, __m256 y, int base) {
    const __m256i mask =
        _mm256_andnot_si256(f32x16::lanes_below(first, base), f32x16::lanes_below(last, base));
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(mask));
  };
  return {half(a.lo, b.lo, 0), half(a.hi, b.hi, 8)};
}

inline f32x16 abs(f32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

inline f32x16 copysign(f32x16 a, f32x16 b) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.lo), _mm256_and_ps(sign, b.lo)),
          _mm256_or_ps(_mm256_andnot_ps(sign, a.hi), _mm256_and_ps(sign, b.hi))};
}

inline __m256 scale_half(__m256 p, __m256 t) {
  const __m256i magic = _mm256_set1_epi32(static_cast<int>(exponent_magic_bits));
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), magic);
  const __m256i half = _mm256_srai_epi32(n, 1);
  const __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}

inline f32x16 scale_by_power(f32x16 p, f32x16 t) {
  return {scale_half(p.lo, t.lo), scale_half(p.hi, t.hi)};
}

inline float sum_lanes(f32x16 a) {
  const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 0x55)));
}

inline float max_lanes(f32x16 a) {
  const __m256 s8 = _mm256_max_ps(a.lo, a.hi);
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 0x55)));
}

// The levels +8, +4, +2, +1 of the tree for eight vectors; lane i of the result is the sum of a[i].
inline __m256 sum_half_8(const f32x16* a) {
  __m256 pair[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256 x = _mm256_add_ps(a[2 * i].lo, a[2 * i].hi);
    const __m256 y = _mm256_add_ps(a[2 * i + 1].lo, a[2 * i + 1].hi);
    pair[i] = _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
  }
  const auto fold_2 = [](__m256 x, __m256 y) {
    return _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x44), _mm256_shuffle_ps(x, y, 0xEE));
  };
  const __m256 left = fold_2(pair[0], pair[1]);  // lane 0: sums 0, 2; lane 1: sums 1, 3
  const __m256 right = fold_2(pair[2], pair[3]); // 4, 6; 5, 7
  const __m256 all =
      _mm256_add_ps(_mm256_shuffle_ps(left, right, 0x88), _mm256_shuffle_ps(left, right, 0xDD));
  return _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

inline f32x16 sum_lanes_16(const f32x16* a) {
  return {sum_half_8(a), sum_half_8(a + 8)};
}

/// Lanes 0 … 7 of the result are the sums of a[0] … a[7]; the others are unspecified.
inline f32x16 sum_lanes_8(const f32x16* a) {
  return {sum_half_8(a), _mm256_setzero_ps()};
}

inline void transpose_8(const float* rows, std::int64_t stride, float* out) {
  __m256 a[8];
  __m256 b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm256_loadu_ps(rows + i * stride);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    a[4 * i] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0xEE);
    a[4 * i + 2] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    _mm256_storeu_ps(out + 16 * c, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    _mm256_storeu_ps(out + 16 * (4 + c), _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

inline void transpose_16(const float* rows, std::int64_t stride, float* out) {
  transpose_8(rows, stride, out);
  transpose_8(rows + 8, stride, out + 8 * 16);
  transpose_8(rows + 8 * stride, stride, out + 8);
  transpose_8(rows + 8 * stride + 8, stride, out + 8 * 16 + 8);
}

inline __m256 load_bf16_half(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

inline f32x16 load_bf16(const std::uint16_t* p) {
  return {load_bf16_half(p), load_bf16_half(p + 8)};
}

inline f32x16 load_f16(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}

inline void store_f16(f32x16 a, std::uint16_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                   _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}

inline void store_bf16(f32x16 a, std::uint16_t* p) {
  float lanes[16];
  a.store(lanes);
  for (int i = 0; i < 16; ++i) {
    p[i] = float_to_bfloat(lanes[i]);
  }
}

inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// 12 accumulators, 2 weights and one activation of the 16 registers (a lane vector is two of them).
constexpr int tile_tokens = 3;
constexpr int tile_outs = 2;
constexpr int attention_rows = 3;
constexpr int attention_vectors = 2;

constexpr int direct_outs(int tokens) {
  return tokens == 1 ? 4 : 2;
}
