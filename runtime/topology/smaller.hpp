// runtime/topology/smaller.hpp — what a replica becomes when it has to go on with fewer workers.
// Pure arithmetic on shapes; whether one of them has enough memory, only the caller knows.
// T-4 A smaller shape has fewer workers per replica, no larger size in any dimension, as many replicas, and is legal for the
//     model. So whoever takes one after the other comes to an end, at one worker per replica.
// T-5 Order: first shapes whose sums have the bits of the present one, because then no stream changes; among those the most
//     workers, because capacity is why there are several; then the larger tensor size, whose steps take less time.
#pragma once

#include "runtime/topology/layout.hpp"
#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <vector>

namespace vdist::topology {

struct smaller_shape {
  parallel_sizes sizes;
  bool keeps_sums = true; // shared sums have the same bits as with the present sizes

  [[nodiscard]] bool operator==(const smaller_shape& other) const;
};

/// `now` is legal for the model. `leaves`: of the model's shared sums, a power of two; tensor sizes that divide it give the
/// same bits. Best first; empty: there is one worker per replica. Cost: O(pipeline × legal tensor sizes).
[[nodiscard]] std::vector<smaller_shape>
smaller_shapes(const parallel_sizes& now, const model_facts& model, std::int32_t leaves);

} // namespace vdist::topology
