// model/weights/device_load.hpp — fills a rank's weight region in device memory from a source, as its plan says. The bytes
// are those that load_weights() would have written to host memory.
// D-1 What the source has a rule for is generated on the device, weight by weight, in whatever layout; of it nothing is
//     read and nothing crosses. A weight that a rule covers only in part is read as a whole.
// D-2 The rest of the plan is cut into bands of whole rows, about device_band_bytes each, whatever the size of its weights;
//     the threads take one after the other, build it in staging memory and send it off, so that reading, converting and
//     copying overlap.
// D-3 Every byte of it crosses to the device once. Staging memory: two bands per thread.
#pragma once

#include "model/weights/load_weights.hpp"

#include "kernels/backend.hpp"

#include <chrono>

namespace vdist::weights {

inline constexpr std::size_t device_band_bytes = std::size_t{8} << 20U;

/// Fills region[0, plan.bytes) in memory of the backend's device, from the thread that owns the backend; nobody else calls
/// it or its queue meanwhile. Returns when the bytes are there. Errors of load_weights(), resource_exhausted (no staging
/// memory), internal (the device failed, or took longer than `deadline` for a copy or for generating a weight).
[[nodiscard]] result<void> load_weights_to_device(const weight_plan& plan,
                                                  const weight_source& source,
                                                  std::byte* region,
                                                  kernels::backend& device,
                                                  std::chrono::milliseconds deadline,
                                                  const load_options& options = {});

} // namespace vdist::weights
