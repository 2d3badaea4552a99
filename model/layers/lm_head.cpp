#include "model/layers/lm_head.hpp"

#include <cstddef>

namespace vdist::layers {

result<void> lm_head::forward(const context& in,
                              const head_rows& rows,
                              std::int32_t count,
                              const logit_buffers& space) const {
  kernels::const_elements features = rows.features;
  if (final_norm) {
    final_norm->forward(in, rows.stream, rows.features, count, final_norm->width);
  }
  if (narrow) {
    narrow->forward(in, features, count, in.space.normed, narrow->out_features);
    features = in.space.normed;
  }
  project.forward(in, features, count, space.part, width());
  if (in.group == nullptr) {
    return {};
  }
  const auto rows_wanted = static_cast<std::size_t>(count);
  const auto part = rows_wanted * static_cast<std::size_t>(width());
  return in.group->all_gather(
      {space.part, part}, {space.parts, logit_floats(in, count)}, rows_wanted);
}

std::int64_t lm_head::logits_stride(const context& in) const {
  return std::int64_t{in.group == nullptr ? 1 : in.group->size()} * width();
}

} // namespace vdist::layers
