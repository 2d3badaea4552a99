#include "transport/tensor/tree_sum.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdist::tensor {

namespace {

/// Floats per pass: keeps the partial sums of a pass in the first-level cache.
constexpr std::size_t block_floats = 512;

// One definition per vector width. Additions only and no reassociation: the bits are the same.
#define VDIST_SUM_KERNELS(suffix, attribute)                                                       \
  attribute void add_2_##suffix(const float* __restrict a,                                         \
                                const float* __restrict b,                                         \
                                std::size_t n,                                                     \
                                float* __restrict out) {                                           \
    for (std::size_t i = 0; i < n; ++i) {                                                          \
      out[i] = a[i] + b[i];                                                                        \
    }                                                                                              \
  }                                                                                                \
  attribute void add_4_##suffix(                                                                   \
      const float* const* p, std::size_t offset, std::size_t n, float* __restrict out) {           \
    const float* __restrict a = p[0] + offset;                                                     \
    const float* __restrict b = p[1] + offset;                                                     \
    const float* __restrict c = p[2] + offset;                                                     \
    const float* __restrict d = p[3] + offset;                                                     \
    for (std::size_t i = 0; i < n; ++i) {                                                          \
      out[i] = (a[i] + b[i]) + (c[i] + d[i]);                                                      \
    }                                                                                              \
  }                                                                                                \
  attribute void accumulate_##suffix(                                                              \
      float* __restrict into, const float* __restrict from, std::size_t n) {                       \
    for (std::size_t i = 0; i < n; ++i) {                                                          \
      into[i] = into[i] + from[i];                                                                 \
    }                                                                                              \
  }

VDIST_SUM_KERNELS(plain, )
#if defined(__x86_64__)
VDIST_SUM_KERNELS(avx2, __attribute__((target("avx2"))))
#endif
#undef VDIST_SUM_KERNELS

struct sum_kernels {
  void (*add_2)(const float*, const float*, std::size_t, float*);
  void (*add_4)(const float* const*, std::size_t, std::size_t, float*);
  void (*accumulate)(float*, const float*, std::size_t);
};

const sum_kernels& kernels() {
  static const sum_kernels chosen = [] {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0) {
      return sum_kernels{add_2_avx2, add_4_avx2, accumulate_avx2};
    }
#endif
    return sum_kernels{add_2_plain, add_4_plain, accumulate_plain};
  }();
  return chosen;
}

/// At most block_floats elements; depth is at most log2 of the number of parts.
void sum_block(const sum_kernels& add,
               std::span<const float* const> parts,
               std::size_t offset,
               std::size_t count,
               float* out) {
  switch (parts.size()) {
  case 1:
    std::memcpy(out, parts[0] + offset, count * sizeof(float));
    return;
  case 2:
    add.add_2(parts[0] + offset, parts[1] + offset, count, out);
    return;
  case 4:
    add.add_4(parts.data(), offset, count, out);
    return;
  default:
    break;
  }
  const std::size_t left = std::bit_floor(parts.size() - 1);
  sum_block(add, parts.first(left), offset, count, out);
  if (parts.size() - left == 1) {
    add.accumulate(out, parts[left] + offset, count);
    return;
  }
  float right[block_floats];
  sum_block(add, parts.subspan(left), offset, count, right);
  add.accumulate(out, right, count);
}

} // namespace

void tree_sum(std::span<const float* const> parts,
              std::size_t offset,
              std::size_t count,
              float* out) noexcept {
  const auto& add = kernels();
  for (std::size_t done = 0; done < count; done += block_floats) {
    sum_block(add, parts, offset + done, std::min(block_floats, count - done), out + done);
  }
}

} // namespace vdist::tensor
