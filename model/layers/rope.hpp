// model/layers/rope.hpp — the cosine and sine tables of rotary positions, with the frequency
// scalings of the models that we run. Computed in double precision and rounded once, so that far
// positions keep their angle. Memory: positions * rotary_dim * 4 bytes per rank.
// R-1 A table is a function of the configuration and of the longest sequence that the engine
// admits, never of a sequence. The reference chooses longrope's factors by the length that a
// sequence has reached; keys that are in the cache by then would have to be computed again, and a
// prefix could not be shared. Here the limit chooses for all: the bits of the reference where every
// sequence is on the limit's side of the trained length.
#pragma once

#include "model/weights/model_config.hpp"

#include <cstdint>
#include <vector>

namespace vdist::layers {

/// Shared by all layers of a rank; kept while the model runs.
/// Tables in device memory; borrowed.
struct rope_view {
  std::int32_t rotary_dim = 0; // even; 0: the model has no rotary positions
  const float* cos = nullptr;  // [positions, rotary_dim/2]
  const float* sin = nullptr;  // [positions, rotary_dim/2]
};

struct rope_table {
  std::int32_t rotary_dim = 0; // even; 0: the model has no rotary positions
  std::int32_t positions = 0;
  std::vector<float> cos; // [positions, rotary_dim/2]
  std::vector<float> sin; // [positions, rotary_dim/2]
};

/// rotary_dim/2 frequencies in radians per position, scaled as the configuration says for an engine
/// whose longest sequence has `positions` tokens.
[[nodiscard]] std::vector<double> rope_frequencies(const weights::rope_config& config,
                                                   std::int32_t positions);

/// Tables for positions [0, positions), the longest sequence. By up to `threads` threads, with the same bits: 131072
/// positions of 128 dimensions take one of them half a second.
[[nodiscard]] rope_table make_rope_table(const weights::rope_config& config,
                                         std::int32_t positions,
                                         std::int32_t threads = 1);

} // namespace vdist::layers
