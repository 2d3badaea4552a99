// tests/kernels/attention/attention_ref.hpp — the formula of kernels/attention/attention.hpp for
// one query in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace vdist::kernels::testing {

/// keys and values are rows of head_dim for positions 0 … position. Returns head_dim values.
inline std::vector<double> attend_in_double(const float* q,
                                            const std::vector<std::vector<float>>& keys,
                                            const std::vector<std::vector<float>>& values,
                                            std::int32_t position,
                                            std::int32_t window,
                                            double scale) {
  const std::int32_t first = window > 0 ? std::max(0, position - window + 1) : 0;
  const std::size_t head_dim = keys[0].size();
  std::vector<double> scores;
  for (std::int32_t j = first; j <= position; ++j) {
    double dot = 0.0;
    for (std::size_t d = 0; d < head_dim; ++d) {
      dot += static_cast<double>(q[d]) * static_cast<double>(keys[static_cast<std::size_t>(j)][d]);
    }
    scores.push_back(dot * scale);
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  std::vector<double> out(head_dim, 0.0);
  for (std::int32_t j = first; j <= position; ++j) {
    const double weight = std::exp(scores[static_cast<std::size_t>(j - first)] - most);
    sum += weight;
    for (std::size_t d = 0; d < head_dim; ++d) {
      out[d] += weight * static_cast<double>(values[static_cast<std::size_t>(j)][d]);
    }
  }
  for (double& x : out) {
    x /= sum;
  }
  return out;
}

} // namespace vdist::kernels::testing
