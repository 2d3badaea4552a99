#include "actors/worker/step_size.hpp"

#include <cstddef>

namespace vdist::actors {

step_size size_of(const protocol::step_plan& plan) {
  step_size size{.tokens = plan.computed_tokens()};
  for (std::size_t i = 0; i < plan.sequences(); ++i) {
    const std::int64_t count = plan.token_counts[i];
    const auto looks_back = plan.first_position[i] + count / 2; // on average
    if (looks_back >= context_short) { // divided one by one, no number of sequences overflows
      size.attention += std::max(count, tokens_per_read) * looks_back / attention_unit;
    }
  }
  if (size.attention < size.tokens) {
    size.attention = 0;
  }
  return size;
}

} // namespace vdist::actors
