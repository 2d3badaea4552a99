#include "model/layers/context.hpp"

#include <cstddef>

namespace vdist::layers {

result<void> context::sum_over_group(float* data, std::int32_t rows, std::int32_t width) const {
  if (group == nullptr) {
    return {};
  }
  return group->all_reduce_sum(
      {data, static_cast<std::size_t>(rows) * static_cast<std::size_t>(width)});
}

} // namespace vdist::layers
