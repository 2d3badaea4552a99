// model/layers/rope.hpp — the cosine and sine tables of rotary positions, with the frequency
// scalings of Llama models. Computed in double precision and rounded once, so that far positions
// keep their angle. Memory: positions * rotary_dim * 4 bytes per rank.
#pragma once

#include "model/weights/model_config.hpp"

#include <cstdint>
#include <vector>

namespace vdist::layers {

/// Shared by all layers of a rank; kept while the model runs.
struct rope_table {
  std::int32_t rotary_dim = 0; // even; 0: the model has no rotary positions
  std::int32_t positions = 0;
  std::vector<float> cos; // [positions, rotary_dim/2]
  std::vector<float> sin; // [positions, rotary_dim/2]
};

/// rotary_dim/2 frequencies in radians per position, scaled as the configuration says.
[[nodiscard]] std::vector<double> rope_frequencies(const weights::rope_config& config);

/// Tables for positions [0, positions).
[[nodiscard]] rope_table make_rope_table(const weights::rope_config& config,
                                         std::int32_t positions);

} // namespace vdist::layers
