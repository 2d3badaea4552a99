#include "model/layers/linear.hpp"

namespace vdist::layers {

std::int32_t reduction_leaves(std::int32_t units) noexcept {
  std::int32_t leaves = 1;
  while (leaves < reduction_leaves_max && units % (leaves * 2) == 0) {
    leaves *= 2;
  }
  return leaves;
}

std::int32_t leaves_of_rank(std::int32_t leaves, std::int32_t tensor_size) noexcept {
  return leaves % tensor_size == 0 ? leaves / tensor_size : 1;
}

void column_linear::forward(
    const context& in, const float* x, std::int32_t rows, float* y, std::int64_t y_stride) const {
  if (out_features == 0) {
    return;
  }
  in.ops.linear({.x = x,
                 .weight = in.weight<void>(weight),
                 .bias = in.weight<float>(bias),
                 .y = y,
                 .tokens = rows,
                 .in_features = in_features,
                 .out_features = out_features,
                 .x_stride = in_features,
                 .y_stride = y_stride,
                 .weight_dtype = type,
                 .reduction_leaves = 1});
}

result<void> row_linear::add_to_residual(const context& in, const float* x) const {
  in.ops.linear({.x = x,
                 .weight = in.weight<void>(weight),
                 .bias = nullptr,
                 .y = in.space.delta,
                 .tokens = in.tokens(),
                 .in_features = in_features,
                 .out_features = out_features,
                 .x_stride = in_features,
                 .y_stride = out_features,
                 .weight_dtype = type,
                 .reduction_leaves = leaves});
  VDIST_TRY(in.sum_over_group(in.space.delta, in.tokens(), out_features));
  in.ops.add_residual({.hidden = in.space.hidden,
                       .delta = in.space.delta,
                       .bias = in.weight<float>(bias),
                       .rows = in.tokens(),
                       .width = out_features,
                       .hidden_stride = out_features,
                       .delta_stride = out_features});
  return {};
}

} // namespace vdist::layers
