// kernels/cpu/lane_math.inl — exp, tanh, erf and typed loads on sixteen lanes, the same operations
// for every instruction set. The polynomials are Chebyshev interpolants of the stated functions in
// double precision, rounded to float.

inline f32x16 polynomial(f32x16 x, const float* coefficients, int count) {
  f32x16 r = f32x16::set1(coefficients[count - 1]);
#pragma GCC unroll 10
  for (int i = count - 2; i >= 0; --i) {
    r = fma(r, x, f32x16::set1(coefficients[i]));
  }
  return r;
}

/// e^x, at most 1.5 ulp off; 0 below -104, infinity above 88.73, NaN stays NaN.
inline f32x16 exp(f32x16 x) {
  // (e^r - 1 - r) / r² on |r| <= ln(2) / 2
  static constexpr float c[] = {
      0.5F, 0.166666672F, 0.041666463F, 0.00833331048F, 0.00139336742F, 0.000198910173F};
  const f32x16 bounded = min(f32x16::set1(89.0F), max(f32x16::set1(-105.0F), x)); // keeps NaN
  const f32x16 magic = f32x16::set1(exponent_magic);
  const f32x16 t = fma(bounded, f32x16::set1(1.44269502F), magic);
  const f32x16 n = t - magic;
  f32x16 r =
      fma(n, f32x16::set1(-0.693145752F), bounded); // ln(2) in two parts, the first exact times n
  r = fma(n, f32x16::set1(-1.42860677e-06F), r);
  const f32x16 p = fma(r * r, polynomial(r, c, 6), r) + f32x16::set1(1.0F);
  return scale_by_power(p, t);
}

/// At most 2 ulp off.
inline f32x16 tanh(f32x16 x) {
  // (tanh(x) / x - 1) / x² in x², |x| <= 0.64
  static constexpr float c[] = {
      -0.333333343F, 0.133332968F, -0.0539575964F, 0.0217557009F, -0.00830169488F, 0.0022460036F};
  const f32x16 one = f32x16::set1(1.0F);
  const f32x16 two = f32x16::set1(2.0F);
  const f32x16 a = abs(x);
  const f32x16 z = x * x;
  const f32x16 near = fma(x * z, polynomial(z, c, 6), x);
  const f32x16 far = copysign(one - two / (exp(a + a) + one), x);
  return select_less(a, f32x16::set1(0.625F), near, far);
}

/// At most 2 ulp off.
inline f32x16 erf(f32x16 x) {
  // erf(x) / x - 1 in x², |x| <= 0.93
  static constexpr float near_c[] = {0.128379166F,
                                     -0.376126349F,
                                     0.112836912F,
                                     -0.0268591512F,
                                     0.00520036882F,
                                     -0.000813470921F,
                                     8.33471859e-05F};
  // ln(1 - erf(a)), 0.92 <= a <= 4; erf(4) is 1 in float
  static constexpr float far_c[] = {0.000320441526F,
                                    -1.13023758F,
                                    -0.631814539F,
                                    -0.11009448F,
                                    0.0264310185F,
                                    -0.00476357527F,
                                    0.000597743492F,
                                    -4.61779127e-05F,
                                    1.6435697e-06F};
  const f32x16 a = abs(x);
  const f32x16 near = fma(x, polynomial(x * x, near_c, 7), x);
  const f32x16 bounded = min(f32x16::set1(4.0F), a); // keeps NaN
  const f32x16 far = copysign(f32x16::set1(1.0F) - exp(polynomial(bounded, far_c, 9)), x);
  return select_less(a, f32x16::set1(0.925F), near, far);
}

/// Stored elements of one dtype as lanes of float.
template <dtype D>
struct stored;

template <>
struct stored<dtype::float32> {
  using type = float;

  static f32x16 load(const float* p) { return f32x16::load(p); }

  static f32x16 load_n(const float* p, int n) { return f32x16::load_n(p, n); }

  static void store(f32x16 a, float* p) { a.store(p); }
};

inline f32x16 load_padded(const std::uint16_t* p, int n, f32x16 (*load)(const std::uint16_t*)) {
  std::uint16_t padded[16] = {};
  for (int i = 0; i < n; ++i) {
    padded[i] = p[i];
  }
  return load(padded);
}

template <>
struct stored<dtype::bfloat16> {
  using type = std::uint16_t;

  static f32x16 load(const type* p) { return load_bf16(p); }

  static f32x16 load_n(const type* p, int n) { return load_padded(p, n, load_bf16); }

  static void store(f32x16 a, type* p) { store_bf16(a, p); }
};

template <>
struct stored<dtype::float16> {
  using type = std::uint16_t;

  static f32x16 load(const type* p) { return load_f16(p); }

  static f32x16 load_n(const type* p, int n) { return load_padded(p, n, load_f16); }

  static void store(f32x16 a, type* p) { store_f16(a, p); }
};

template <dtype D>
inline void store_n(f32x16 a, typename stored<D>::type* p, int n) {
  if (n == 16) {
    stored<D>::store(a, p);
    return;
  }
  typename stored<D>::type padded[16];
  stored<D>::store(a, padded);
  for (int i = 0; i < n; ++i) {
    p[i] = padded[i];
  }
}

/// Lanes of a row of `width` elements from element i: all sixteen, or what is left with zeros
/// behind.
template <dtype D>
inline f32x16 load_row(const typename stored<D>::type* row, int i, int width) {
  return width - i >= 16 ? stored<D>::load(row + i) : stored<D>::load_n(row + i, width - i);
}

inline void store_row(f32x16 a, float* row, int i, int width) {
  if (width - i >= 16) {
    a.store(row + i);
  } else {
    a.store_n(row + i, width - i);
  }
}

template <dtype D>
struct dtype_constant {
  static constexpr dtype value = D;
};

/// Calls f with the dtype as a compile-time constant: f(dtype_constant<D>{}).
template <class F>
inline void with_dtype(dtype type, const F& f) {
  switch (type) {
  case dtype::float32:
    f(dtype_constant<dtype::float32>{});
    return;
  case dtype::bfloat16:
    f(dtype_constant<dtype::bfloat16>{});
    return;
  case dtype::float16:
    f(dtype_constant<dtype::float16>{});
    return;
  }
}
