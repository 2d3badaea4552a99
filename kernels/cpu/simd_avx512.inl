// kernels/cpu/simd_avx512.inl — sixteen float lanes in one zmm register; meaning as in
// simd_portable.inl.

struct f32x16 {
  __m512 v;

  static f32x16 set1(float x) { return {_mm512_set1_ps(x)}; }

  static f32x16 zero() { return {_mm512_setzero_ps()}; }

  static f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }

  void store(float* p) const { _mm512_storeu_ps(p, v); }

  static __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1U << n) - 1U); }

  static f32x16 load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }

  void store_n(float* p, int n) const { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
};

inline f32x16 operator+(f32x16 a, f32x16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}

inline f32x16 operator-(f32x16 a, f32x16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}

inline f32x16 operator*(f32x16 a, f32x16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}

inline f32x16 operator/(f32x16 a, f32x16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}

inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}

inline f32x16 max(f32x16 a, f32x16 b) {
  return {_mm512_max_ps(a.v, b.v)};
}

inline f32x16 min(f32x16 a, f32x16 b) {
  return {_mm512_min_ps(a.v, b.v)};
}

inline f32x16 select_less(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}

inline f32x16 keep_lanes(f32x16 a, int first, int last, f32x16 b) {
  const std::uint32_t mask = ((1U << last) - 1U) & ~((1U << first) - 1U);
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(first < last ? mask : 0U), b.v, a.v)};
}

inline f32x16 abs(f32x16 a) {
  return {_mm512_andnot_ps(_mm512_set1_ps(-0.0F), a.v)};
}

inline f32x16 copysign(f32x16 a, f32x16 b) {
  const __m512 sign = _mm512_set1_ps(-0.0F);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v))};
}

inline f32x16 scale_by_power(f32x16 p, f32x16 t) {
  const __m512i magic = _mm512_set1_epi32(static_cast<int>(exponent_magic_bits));
  const __m512i bias = _mm512_set1_epi32(127);
  const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t.v), magic);
  const __m512i half = _mm512_srai_epi32(n, 1);
  const __m512i low = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
  const __m512i high = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(n, half), bias), 23);
  return {_mm512_mul_ps(_mm512_mul_ps(p.v, _mm512_castsi512_ps(low)), _mm512_castsi512_ps(high))};
}

inline __m128 fold_to_128(__m256 s8) {
  return _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
}

inline float sum_lanes(f32x16 a) {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 s4 = fold_to_128(s8);
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 0x55)));
}

inline float max_lanes(f32x16 a) {
  const __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 0x55)));
}

// One level of the tree for two vectors at once: the halves (quarters, …) of both are brought side
// by side and added.
inline __m512 fold_8(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}

inline __m512 fold_4(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

inline __m512 fold_2(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
}

inline __m512 fold_1(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

[[gnu::always_inline]] inline f32x16 sum_lanes_16(const f32x16* a) {
  __m512 quad[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    quad[i] = fold_4(fold_8(a[4 * i].v, a[4 * i + 1].v), fold_8(a[4 * i + 2].v, a[4 * i + 3].v));
  }
  const __m512 all = fold_1(fold_2(quad[0], quad[1]), fold_2(quad[2], quad[3]));
  // 128-bit lane q holds the sums of q, 4+q, 8+q, 12+q: transpose the 4 by 4.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return {_mm512_permutexvar_ps(order, all)};
}

/// Lanes 0 … 7 of the result are the sums of a[0] … a[7]; the others are unspecified.
[[gnu::always_inline]] inline f32x16 sum_lanes_8(const f32x16* a) {
  const __m512 left = fold_4(fold_8(a[0].v, a[1].v), fold_8(a[2].v, a[3].v));
  const __m512 right = fold_4(fold_8(a[4].v, a[5].v), fold_8(a[6].v, a[7].v));
  const __m512 half = fold_2(left, right);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
  return {_mm512_permutexvar_ps(order, fold_1(half, half))};
}

inline void transpose_16(const float* rows, std::int64_t stride, float* out) {
  __m512 a[16];
  __m512 b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    a[i] = _mm512_loadu_ps(rows + i * stride);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) { // a[4i + c]: column c of every 128-bit lane, rows 4i … 4i+3
    a[4 * i] = _mm512_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm512_shuffle_ps(b[4 * i], b[4 * i + 2], 0xEE);
    a[4 * i + 2] = _mm512_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm512_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4;
       ++c) { // columns c, 4+c, 8+c, 12+c sit in the 128-bit lanes of a[c], a[4+c], …
    const __m512 r01_even = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88);
    const __m512 r01_odd = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xDD);
    const __m512 r23_even = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const __m512 r23_odd = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xDD);
    _mm512_storeu_ps(out + 16 * c, _mm512_shuffle_f32x4(r01_even, r23_even, 0x88));
    _mm512_storeu_ps(out + 16 * (8 + c), _mm512_shuffle_f32x4(r01_even, r23_even, 0xDD));
    _mm512_storeu_ps(out + 16 * (4 + c), _mm512_shuffle_f32x4(r01_odd, r23_odd, 0x88));
    _mm512_storeu_ps(out + 16 * (12 + c), _mm512_shuffle_f32x4(r01_odd, r23_odd, 0xDD));
  }
}

inline f32x16 load_bf16(const std::uint16_t* p) {
  const __m512i wide =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

inline f32x16 load_f16(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}

inline void store_f16(f32x16 a, std::uint16_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

inline void store_bf16(f32x16 a, std::uint16_t* p) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(is_nan, rounded, quiet)));
}

inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// 24 accumulators, 4 weights and one activation of the 32 registers.
constexpr int tile_tokens = 6;
constexpr int tile_outs = 4;
constexpr int attention_rows = 6;
constexpr int attention_vectors = 4;

constexpr int direct_outs(int tokens) {
  return tokens <= 3 ? 8 : 4;
}
