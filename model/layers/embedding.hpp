// model/layers/embedding.hpp — token ids to the residual stream. The table is split by rows over
// the tensor group: each rank looks up its own rows and zeros for the rest, and the all-reduce adds
// them up.
#pragma once

#include "model/layers/context.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>

namespace vdist::layers {

struct vocabulary_embedding {
  weight_ref table = no_weight; // [rows, width], this rank's rows, padding included
  kernels::dtype type = kernels::dtype::float32;
  std::int32_t first_row = 0; // token id of the first row
  std::int32_t rows = 0;
  std::int32_t width = 0;

  /// y[t] = table[token_ids[t]]; y is [tokens, width], float32 where a group adds it up.
  [[nodiscard]] result<void> forward(const context& in, kernels::elements y) const;
};

/// Learned positions; every rank holds the whole table.
struct position_embedding {
  weight_ref table = no_weight; // [positions, width]
  kernels::dtype type = kernels::dtype::float32;
  std::int32_t offset = 0; // row of position 0
  std::int32_t width = 0;

  /// buffers::hidden[t] += table[positions[t] + offset].
  void add_to_residual(const context& in) const;
};

} // namespace vdist::layers
