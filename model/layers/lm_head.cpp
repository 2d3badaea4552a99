#include "model/layers/lm_head.hpp"

#include <algorithm>
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
  const auto part = static_cast<std::size_t>(count) * static_cast<std::size_t>(width());
  return in.group->all_gather({space.part, part}, {space.parts, logit_floats(in, count)});
}

std::size_t lm_head::logit_floats(const context& in, std::int32_t count) const {
  const auto ranks = static_cast<std::size_t>(in.group == nullptr ? 1 : in.group->size());
  return ranks * static_cast<std::size_t>(count) * static_cast<std::size_t>(width());
}

std::span<float> lm_head::row(
    const context& in, float* result, std::int32_t count, std::int32_t index, float* room) const {
  const auto size = static_cast<std::size_t>(vocabulary);
  if (in.group == nullptr) {
    return {result + std::int64_t{index} * width(), size};
  }
  for (std::int32_t first = 0; first < vocabulary; first += width()) {
    const std::int64_t rank = first / width();
    const float* part = result + (rank * count + index) * width();
    std::copy_n(part, std::min(width(), vocabulary - first), room + first);
  }
  return {room, size};
}

} // namespace vdist::layers
