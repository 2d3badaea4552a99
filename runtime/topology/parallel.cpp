#include "runtime/topology/parallel.hpp"

#include "runtime/base/check.hpp"

namespace vdist::topology {

coordinates coordinates_of(rank_id rank, const parallel_sizes& sizes) {
  VDIST_CHECK(rank.value >= 0 && rank.value < sizes.world(), "topology: rank outside the world");
  std::int32_t rest = rank.value;
  coordinates at;
  at.tensor = rest % sizes.tensor;
  rest /= sizes.tensor;
  at.prefill_context = rest % sizes.prefill_context;
  rest /= sizes.prefill_context;
  at.pipeline = rest % sizes.pipeline;
  at.data = rest / sizes.pipeline;
  return at;
}

rank_id rank_of(const coordinates& at, const parallel_sizes& sizes) {
  VDIST_CHECK(at.data >= 0 && at.data < sizes.data, "topology: data coordinate out of range");
  VDIST_CHECK(at.pipeline >= 0 && at.pipeline < sizes.pipeline,
              "topology: pipeline coordinate out of range");
  VDIST_CHECK(at.prefill_context >= 0 && at.prefill_context < sizes.prefill_context,
              "topology: prefill_context coordinate out of range");
  VDIST_CHECK(at.tensor >= 0 && at.tensor < sizes.tensor,
              "topology: tensor coordinate out of range");
  const std::int32_t stage = at.data * sizes.pipeline + at.pipeline;
  return rank_id((stage * sizes.prefill_context + at.prefill_context) * sizes.tensor + at.tensor);
}

} // namespace vdist::topology
