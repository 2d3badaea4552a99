#include "runtime/topology/smaller.hpp"

#include "runtime/topology/groups.hpp"

#include <algorithm>
#include <tuple>

namespace vdist::topology {

bool smaller_shape::operator==(const smaller_shape& other) const {
  const auto all = [](const smaller_shape& one) {
    return std::tuple(one.sizes.data,
                      one.sizes.pipeline,
                      one.sizes.prefill_context,
                      one.sizes.tensor,
                      one.sizes.decode_context,
                      one.sizes.expert,
                      one.keeps_sums);
  };
  return all(*this) == all(other);
}

std::vector<smaller_shape>
smaller_shapes(const parallel_sizes& now, const model_facts& model, std::int32_t leaves) {
  std::vector<smaller_shape> shapes;
  for (const auto tensor : legal_tensor_sizes(model)) {
    for (std::int32_t stages = 1; stages <= std::min(now.pipeline, model.layers); ++stages) {
      auto sizes = now;
      sizes.tensor = tensor;
      sizes.pipeline = stages;
      if (tensor > now.tensor || sizes.replica_world() >= now.replica_world()
          || !is_legal_decode_context(sizes)) {
        continue;
      }
      const bool is_tree = leaves % tensor == 0 && leaves % now.tensor == 0;
      shapes.push_back({.sizes = sizes, .keeps_sums = tensor == now.tensor || is_tree});
    }
  }
  std::sort(shapes.begin(), shapes.end(), [](const smaller_shape& a, const smaller_shape& b) {
    const auto merit = [](const smaller_shape& one) {
      return std::tuple(one.keeps_sums, one.sizes.replica_world(), one.sizes.tensor);
    };
    return merit(a) > merit(b);
  });
  return shapes;
}

} // namespace vdist::topology
