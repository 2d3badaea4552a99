#include "model/layers/norm.hpp"

namespace vdist::layers {

void norm::forward(const context& in,
                   kernels::const_elements x,
                   kernels::elements y,
                   std::int32_t rows,
                   std::int64_t stride) const {
  if (kind == weights::norm_kind::rms_norm) {
    in.ops.rms_norm({.x = x,
                     .weight = in.weight<float>(weight),
                     .y = y,
                     .rows = rows,
                     .width = width,
                     .x_stride = stride,
                     .y_stride = stride,
                     .eps = eps});
    return;
  }
  in.ops.layer_norm({.x = x,
                     .weight = in.weight<float>(weight),
                     .bias = in.weight<float>(bias),
                     .y = y,
                     .rows = rows,
                     .width = width,
                     .x_stride = stride,
                     .y_stride = stride,
                     .eps = eps});
}

} // namespace vdist::layers
