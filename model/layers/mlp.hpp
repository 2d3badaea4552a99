// model/layers/mlp.hpp — the feed-forward part of a layer: one linear up (gate and up fused when
// gated), an activation, one linear down into the residual stream. The intermediate columns are
// split over the tensor group.
#pragma once

#include "model/layers/context.hpp"
#include "model/layers/linear.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>

namespace vdist::layers {

enum class mlp_kind : std::uint8_t {
  gated, // down(f(gate x) * up x): Llama and its relatives
  plain, // down(f(up x)): GPT-2, OPT
};

struct mlp {
  mlp_kind kind = mlp_kind::gated;
  kernels::activation_kind activation = kernels::activation_kind::silu;
  std::int32_t width = 0; // intermediate columns of this rank
  column_linear up;       // gated: rows [gate | up]
  row_linear down;

  /// Adds mlp(x[tokens, hidden]) to the residual stream.
  [[nodiscard]] result<void> add_to_residual(const context& in, kernels::const_elements x) const;
};

} // namespace vdist::layers
