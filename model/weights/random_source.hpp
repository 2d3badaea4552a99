// model/weights/random_source.hpp — weights without a checkpoint, for measuring and for fault tests
// at any model size. An element is a pure function of (seed, names[0] of its tensor, index in the
// full stored tensor): every tensor and pipeline split sees the same model, and tied weights agree
// because they name the same tensor. Matrices follow a triangular distribution of mean 0 and
// standard deviation random_matrix_deviation, biases one tenth of that, norms are 1. The formula is
// kernels/random/random_fill.hpp: a device writes the same elements where they are needed.
#pragma once

#include "model/weights/weight_source.hpp"

#include <cstdint>

namespace vdist::weights {

inline constexpr float random_matrix_deviation = 0.02F;
inline constexpr float random_bias_deviation = 0.002F;

class random_source final : public weight_source {
public:
  explicit random_source(std::uint64_t seed) : seed_(seed) {}

  /// Never fails: every tensor exists.
  [[nodiscard]] result<std::unique_ptr<tensor_reader>> open(const tensor_ref& tensor,
                                                            weight_role role) const override;

  [[nodiscard]] std::optional<kernels::random_fill_rule> rule(const tensor_ref& tensor,
                                                              weight_role role) const override;

private:
  [[nodiscard]] kernels::random_fill_rule rule_of(const tensor_ref& tensor, weight_role role) const;

  std::uint64_t seed_;
};

} // namespace vdist::weights
