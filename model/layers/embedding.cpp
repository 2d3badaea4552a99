#include "model/layers/embedding.hpp"

#include "runtime/base/check.hpp"

namespace vdist::layers {

result<void> vocabulary_embedding::forward(const context& in, kernels::elements y) const {
  in.ops.embedding({.ids = in.token_ids,
                    .table = in.weight<void>(table),
                    .y = y,
                    .type = type,
                    .tokens = in.tokens(),
                    .first_row = first_row,
                    .rows = rows,
                    .width = width,
                    .y_stride = width});
  if (in.group == nullptr) {
    return {};
  }
  VDIST_CHECK(y.type == kernels::dtype::float32, "T-2: the group adds float32");
  return in.sum_over_group(y.as<float>(), in.tokens(), width);
}

void position_embedding::add_to_residual(const context& in) const {
  in.ops.position_embedding({.positions = in.positions,
                             .table = in.weight<void>(table),
                             .y = in.space.hidden,
                             .type = type,
                             .tokens = in.tokens(),
                             .offset = offset,
                             .width = width,
                             .y_stride = width});
}

} // namespace vdist::layers
