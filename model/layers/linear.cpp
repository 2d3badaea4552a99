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

kernels::linear_args column_linear::args(const context& in,
                                         kernels::const_elements x,
                                         std::int32_t rows,
                                         kernels::elements y) const {
  return {.x = x,
          .weight = in.weight<void>(weight),
          .bias = in.weight<float>(bias),
          .y = y,
          .tokens = rows,
          .in_features = in_features,
          .out_features = out_features,
          .x_stride = in_features,
          .y_stride = out_features,
          .weight_dtype = type,
          .reduction_leaves = 1};
}

void column_linear::forward(const context& in,
                            kernels::const_elements x,
                            std::int32_t rows,
                            kernels::elements y,
                            std::int64_t y_stride) const {
  if (out_features == 0) {
    return;
  }
  auto call = args(in, x, rows, y);
  call.y_stride = y_stride;
  in.ops.linear(call);
}

result<void> row_linear::add_to_residual(const context& in, kernels::const_elements x) const {
  kernels::linear_args sum{.x = x,
                           .weight = in.weight<void>(weight),
                           .bias = in.weight<float>(bias),
                           .y = in.space.delta,
                           .tokens = in.tokens(),
                           .in_features = in_features,
                           .out_features = out_features,
                           .x_stride = in_features,
                           .y_stride = out_features,
                           .weight_dtype = type,
                           .reduction_leaves = leaves};
  if (in.group == nullptr) {
    in.ops.linear_residual(
        {.linear = sum, .hidden = in.space.hidden, .hidden_stride = out_features});
    return {};
  }
  sum.bias = nullptr; // L-2
  in.ops.linear(sum);
  if (bias == no_weight && in.group->adds_sums()) {
    const auto count =
        static_cast<std::size_t>(in.tokens()) * static_cast<std::size_t>(out_features);
    return in.group->add_sum({in.space.delta, count}, {in.space.hidden, count});
  }
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
