// model/layers/linear.hpp — the two ways to split a linear layer over a tensor group.
// column_linear holds rows of the weight matrix, so each rank computes its own outputs and nothing
// is summed. row_linear holds columns: each rank computes a part of every output, and the parts are
// added over the group. L-1 The sum of a row_linear has the same bits for every tensor size that
// divides its leaves: a rank sums its share of
//     the leaves as a subtree and the all-reduce continues the same tree (kernels/backend.hpp N-3).
// L-2 Its bias is added once, after the all-reduce.
#pragma once

#include "model/layers/context.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>

namespace vdist::layers {

/// Leaves of a sum at most: the largest tensor size whose results have the bits of tensor size 1.
inline constexpr std::int32_t reduction_leaves_max = 8;

/// Leaves of a sum over `units` equal pieces (heads, columns): the largest power of two that
/// divides them, up to the max.
[[nodiscard]] std::int32_t reduction_leaves(std::int32_t units) noexcept;

/// The share of one rank; 1 when the leaves cannot be shared evenly.
[[nodiscard]] std::int32_t leaves_of_rank(std::int32_t leaves, std::int32_t tensor_size) noexcept;

struct column_linear {
  weight_ref weight = no_weight; // [out_features, in_features], this rank's rows
  weight_ref bias = no_weight;   // [out_features] float32
  kernels::dtype type = kernels::dtype::float32;
  std::int32_t in_features = 0;
  std::int32_t out_features = 0; // of this rank; 0 computes nothing

  /// y[rows, out_features] with row stride y_stride.
  void forward(const context& in,
               kernels::const_elements x,
               std::int32_t rows,
               kernels::elements y,
               std::int64_t y_stride) const;

  /// The same without a call: y[rows, out_features], contiguous.
  [[nodiscard]] kernels::linear_args
  args(const context& in, kernels::const_elements x, std::int32_t rows, kernels::elements y) const;
};

struct row_linear {
  weight_ref weight = no_weight; // [out_features, in_features], this rank's columns
  weight_ref bias = no_weight;   // [out_features] float32, whole
  kernels::dtype type = kernels::dtype::float32;
  std::int32_t in_features = 0; // of this rank
  std::int32_t out_features = 0;
  std::int32_t leaves = 1; // of this rank

  /// Adds the layer's output for x[tokens, in_features] to the residual stream. Uses
  /// buffers::delta.
  [[nodiscard]] result<void> add_to_residual(const context& in, kernels::const_elements x) const;
};

} // namespace vdist::layers
