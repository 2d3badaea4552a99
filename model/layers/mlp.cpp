#include "model/layers/mlp.hpp"

namespace vdist::layers {

result<void> mlp::add_to_residual(const context& in, const float* x) const {
  up.forward(in, x, in.tokens(), in.space.up, up.out_features);
  if (kind == mlp_kind::plain) {
    in.ops.activation({.x = in.space.up,
                       .rows = in.tokens(),
                       .width = width,
                       .x_stride = width,
                       .kind = activation});
    return down.add_to_residual(in, in.space.up);
  }
  in.ops.gated_activation({.gate_up = in.space.up,
                           .y = in.space.mid,
                           .rows = in.tokens(),
                           .width = width,
                           .x_stride = 2 * std::int64_t{width},
                           .y_stride = width,
                           .kind = activation});
  return down.add_to_residual(in, in.space.mid);
}

} // namespace vdist::layers
