// tests/transport/tensor/shared_family.hpp — the shared communicator for the conformance tests.
#pragma once

#include "tests/transport/tensor/communicator_conformance.hpp"

namespace vdist::testing {

inline communicator_kind shared_kind() {
  return {.region_bytes =
              [](const group_shape& shape) {
                return tensor::exchange_bytes(shape.size, shape.slot_floats);
              },
          .join =
              [](const group_place& place) {
                return tensor::make_shared_communicator(
                    place.region,
                    {.rank = place.rank,
                     .size = place.shape.size,
                     .slot_floats = place.shape.slot_floats,
                     .one_shot_floats_max = place.shape.one_shot_floats_max,
                     .timeout = place.shape.timeout,
                     .stop = place.stop},
                    frame::wait_policy({.spin_budget = place.shape.spin_budget, .slice_max = 10s},
                                       group_clock));
              }};
}

inline tested_family shared_family(rank_host host) {
  return {.kind = shared_kind(), .host = host, .sizes = {1, 2, 3, 4, 8}};
}

} // namespace vdist::testing
