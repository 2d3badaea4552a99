// tests/kernels/linear/linear_ref.hpp — the formula of kernels/linear/linear.hpp in double, and the
// order of N-2, N-3 as plain scalar code: the exact bits that every path must give.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

struct dot_reference {
  double value;
  double magnitude; // sum of |x * w|: what rounding errors are relative to
};

inline dot_reference dot_in_double(const float* x, const float* w, std::int32_t n) {
  dot_reference out{0.0, 0.0};
  for (std::int32_t k = 0; k < n; ++k) {
    const double product = static_cast<double>(x[k]) * static_cast<double>(w[k]);
    out.value += product;
    out.magnitude += std::abs(product);
  }
  return out;
}

/// N-2, word for word.
inline float dot_in_lanes(const float* x, const float* w, std::int32_t n) {
  float s[16] = {};
  for (std::int32_t k = 0; k < (n + 15) / 16 * 16; ++k) {
    s[k % 16] = std::fma(k < n ? x[k] : 0.0F, k < n ? w[k] : 0.0F, s[k % 16]);
  }
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      s[i] += s[i + width];
    }
  }
  return s[0];
}

/// The binary tree over neighbours; the size is a power of two.
inline float sum_of_tree(std::vector<float> leaves) {
  while (leaves.size() > 1) {
    std::vector<float> next;
    for (std::size_t i = 0; i < leaves.size(); i += 2) {
      next.push_back(leaves[i] + leaves[i + 1]);
    }
    leaves = next;
  }
  return leaves[0];
}

/// N-3, word for word.
inline float dot_in_leaves(const float* x, const float* w, std::int32_t n, std::int32_t leaves) {
  std::vector<float> sums;
  for (std::int32_t leaf = 0; leaf < leaves; ++leaf) {
    sums.push_back(dot_in_lanes(x + leaf * (n / leaves), w + leaf * (n / leaves), n / leaves));
  }
  return sum_of_tree(sums);
}

} // namespace vdist::kernels::testing
