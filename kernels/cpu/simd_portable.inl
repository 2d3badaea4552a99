// kernels/cpu/simd_portable.inl — sixteen float lanes in plain C++; the meaning that the other two
// must reproduce. Included inside namespace vdist::kernels::<isa>::(anonymous). Operations marked
// "exact rule" define what happens with NaN, so that all instruction sets agree: max and min return
// the second operand when either is NaN.

struct f32x16 {
  float v[16];

  static f32x16 set1(float x) {
    f32x16 r;
    for (float& lane : r.v) {
      lane = x;
    }
    return r;
  }

  static f32x16 zero() { return set1(0.0F); }

  static f32x16 load(const float* p) {
    f32x16 r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }

  /// The first n lanes (0 … 16) from memory, zeros behind; reads nothing beyond them.
  static f32x16 load_n(const float* p, int n) {
    f32x16 r = zero();
    for (int i = 0; i < n; ++i) {
      r.v[i] = p[i];
    }
    return r;
  }

  void store(float* p) const { std::memcpy(p, v, sizeof v); }

  void store_n(float* p, int n) const {
    for (int i = 0; i < n; ++i) {
      p[i] = v[i];
    }
  }
};

#define VDIST_LANES(expression)                                                                    \
  f32x16 r;                                                                                        \
  for (int i = 0; i < 16; ++i) {                                                                   \
    r.v[i] = expression;                                                                           \
  }                                                                                                \
  return r

inline f32x16 operator+(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] + b.v[i]);
}

inline f32x16 operator-(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] - b.v[i]);
}

inline f32x16 operator*(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] * b.v[i]);
}

inline f32x16 operator/(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] / b.v[i]);
}

/// a * b + c, rounded once.
inline f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) {
  VDIST_LANES(__builtin_fmaf(a.v[i], b.v[i], c.v[i]));
}

inline f32x16 max(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}

inline f32x16 min(const f32x16& a, const f32x16& b) {
  VDIST_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}

/// a < b ? x : y per lane; false when a or b is NaN.
inline f32x16 select_less(const f32x16& a, const f32x16& b, const f32x16& x, const f32x16& y) {
  VDIST_LANES(a.v[i] < b.v[i] ? x.v[i] : y.v[i]);
}

/// Lanes first <= i < last from a, the others from b.
inline f32x16 keep_lanes(const f32x16& a, int first, int last, const f32x16& b) {
  VDIST_LANES(i >= first && i < last ? a.v[i] : b.v[i]);
}

inline std::uint32_t bits_of(float x) {
  return __builtin_bit_cast(std::uint32_t, x);
}

inline float from_bits(std::uint32_t b) {
  return __builtin_bit_cast(float, b);
}

inline f32x16 abs(const f32x16& a) {
  VDIST_LANES(from_bits(bits_of(a.v[i]) & 0x7fffffffU));
}

/// The magnitude of a with the sign of b.
inline f32x16 copysign(const f32x16& a, const f32x16& b) {
  VDIST_LANES(from_bits((bits_of(a.v[i]) & 0x7fffffffU) | (bits_of(b.v[i]) & 0x80000000U)));
}

/// p * 2^n, where t is the float exponent_magic + n; two multiplications, so that the result may be
/// subnormal.
inline f32x16 scale_by_power(const f32x16& p, const f32x16& t) {
  f32x16 r;
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t n = bits_of(t.v[i]) - exponent_magic_bits;
    const std::uint32_t half = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) >> 1);
    const float low = from_bits((half + 127U) << 23);
    const float high = from_bits((n - half + 127U) << 23);
    r.v[i] = (p.v[i] * low) * high;
  }
  return r;
}

#undef VDIST_LANES

/// N-2: the fixed tree over sixteen lanes.
inline float sum_lanes(const f32x16& a) {
  float s[16];
  std::memcpy(s, a.v, sizeof s);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      s[i] += s[i + width];
    }
  }
  return s[0];
}

inline float max_lanes(const f32x16& a) {
  float s[16];
  std::memcpy(s, a.v, sizeof s);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      s[i] = s[i] > s[i + width] ? s[i] : s[i + width];
    }
  }
  return s[0];
}

/// Lane i of the result is sum_lanes(a[i]).
inline f32x16 sum_lanes_16(const f32x16* a) {
  f32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = sum_lanes(a[i]);
  }
  return r;
}

/// Lanes 0 … 7 of the result are the sums of a[0] … a[7]; the others are unspecified.
inline f32x16 sum_lanes_8(const f32x16* a) {
  f32x16 r = f32x16::zero();
  for (int i = 0; i < 8; ++i) {
    r.v[i] = sum_lanes(a[i]);
  }
  return r;
}

/// out[c * 16 + r] = rows[r * stride + c] for a 16 by 16 tile.
inline void transpose_16(const float* rows, std::int64_t stride, float* out) {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) {
      out[c * 16 + r] = rows[r * stride + c];
    }
  }
}

inline f32x16 load_bf16(const std::uint16_t* p) {
  f32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = from_bits(static_cast<std::uint32_t>(p[i]) << 16);
  }
  return r;
}

inline f32x16 load_f16(const std::uint16_t* p) {
  f32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = half_to_float(p[i]);
  }
  return r;
}

inline void store_f16(const f32x16& a, std::uint16_t* p) {
  for (int i = 0; i < 16; ++i) {
    p[i] = float_to_half(a.v[i]);
  }
}

inline void store_bf16(const f32x16& a, std::uint16_t* p) {
  for (int i = 0; i < 16; ++i) {
    p[i] = float_to_bfloat(a.v[i]);
  }
}

inline void prefetch(const void*) {}

constexpr int tile_tokens = 2;    // tokens of one register tile of linear
constexpr int tile_outs = 2;      // outputs of it
constexpr int attention_rows = 2; // rows that share the loads of keys and values
constexpr int attention_vectors = 2;

constexpr int direct_outs(int) {
  return 2;
}
