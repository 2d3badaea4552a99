#include "model/layers/mlp.hpp"

namespace vdist::layers {

result<void> mlp::add_to_residual(const context& in, kernels::const_elements x) const {
  if (kind == mlp_kind::plain) {
    up.forward(in, x, in.tokens(), in.space.up, up.out_features);
    in.ops.activation({.x = in.space.up,
                       .rows = in.tokens(),
                       .width = width,
                       .x_stride = width,
                       .kind = activation});
    return down.add_to_residual(in, in.space.up);
  }
  in.ops.gated_linear({.linear = up.args(in, x, in.tokens(), in.space.up),
                       .y = in.space.mid,
                       .y_stride = width,
                       .kind = activation});
  return down.add_to_residual(in, in.space.mid);
}

} // namespace vdist::layers
