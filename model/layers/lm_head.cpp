#include "model/layers/lm_head.hpp"

#include <algorithm>
#include <cstddef>

namespace vdist::layers {

result<void>
lm_head::forward(const context& in, float* x, std::int32_t rows, const logit_buffers& space) const {
  if (final_norm) {
    final_norm->forward(in, x, x, rows, final_norm->width);
  }
  const float* features = x;
  if (narrow) {
    narrow->forward(in, x, rows, in.space.normed, narrow->out_features);
    features = in.space.normed;
  }
  project.forward(in, features, rows, space.part, width());
  if (in.group == nullptr) {
    return {};
  }
  const auto count = static_cast<std::size_t>(rows) * static_cast<std::size_t>(width());
  const auto ranks = static_cast<std::size_t>(in.group->size());
  return in.group->all_gather({space.part, count}, {space.parts, ranks * count});
}

std::span<float> lm_head::row(const context& in,
                              const logit_buffers& space,
                              std::int32_t rows,
                              std::int32_t index) const {
  const auto size = static_cast<std::size_t>(vocabulary);
  if (in.group == nullptr) {
    return {space.part + std::int64_t{index} * width(), size};
  }
  for (std::int32_t first = 0; first < vocabulary; first += width()) {
    const std::int64_t rank = first / width();
    const float* part = space.parts + (rank * rows + index) * width();
    std::copy_n(part, std::min(width(), vocabulary - first), space.row + first);
  }
  return {space.row, size};
}

} // namespace vdist::layers
