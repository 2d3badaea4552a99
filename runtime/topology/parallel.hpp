// runtime/topology/parallel.hpp — sizes of the parallel dimensions and a rank's place in them.
// Rank order is data × pipeline × prefill_context × tensor, tensor fastest (DESIGN: groups as every
// engine names them).
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <vector>

namespace vdist::topology {

/// [parallel] of the configuration. The product of all but decode_context is the number of workers.
struct parallel_sizes {
  std::int32_t data = 1;
  std::int32_t pipeline = 1;
  std::int32_t prefill_context = 1;
  std::int32_t tensor = 1;
  std::int32_t decode_context = 1; // re-uses tensor ranks
  bool expert = false;

  [[nodiscard]] std::int32_t world() const { return data * pipeline * prefill_context * tensor; }

  [[nodiscard]] std::int32_t replica_world() const { return pipeline * prefill_context * tensor; }
};

/// Where a rank stands in each dimension.
struct coordinates {
  std::int32_t data = 0;
  std::int32_t pipeline = 0; // the stage
  std::int32_t prefill_context = 0;
  std::int32_t tensor = 0;
};

/// Half-open range of transformer layers [first, last).
struct layer_range {
  std::int32_t first = 0;
  std::int32_t last = 0;

  [[nodiscard]] std::int32_t count() const { return last - first; }
};

/// What part of the model one worker holds: everything that model code may know about the topology.
struct shard {
  std::int32_t tensor_rank = 0;
  std::int32_t tensor_size = 1;
  std::int32_t stage = 0;
  std::int32_t stages = 1;
  layer_range layers;

  [[nodiscard]] bool is_first_stage() const { return stage == 0; }

  [[nodiscard]] bool is_last_stage() const { return stage + 1 == stages; }
};

/// Coordinates of a global rank, and back. rank must be in [0, sizes.world()).
[[nodiscard]] coordinates coordinates_of(rank_id rank, const parallel_sizes& sizes);
[[nodiscard]] rank_id rank_of(const coordinates& at, const parallel_sizes& sizes);

} // namespace vdist::topology
