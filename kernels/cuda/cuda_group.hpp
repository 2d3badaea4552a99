// kernels/cuda/cuda_group.hpp — one rank's member of a group of GPUs (kernels/collective/collective.hpp): its state, its
// fence and the stream that raises it. What it launches goes to the queue of the backend that made it.
#pragma once

#include "kernels/collective/collective.hpp"
#include "kernels/cuda/cuda_queue.hpp"

#include <memory>
#include <string>

namespace vdist::kernels::cuda {

/// Opens peer access where it is needed and loads the kernels: before any rank waits for another. Null, and `why`, when
/// sizes are not legal, a region is no device memory, a device cannot reach another, or memory is missing. `queue` is
/// borrowed and outlives the group.
[[nodiscard]] std::unique_ptr<device_group>
make_cuda_group(cuda_queue& queue, const device_group_config& config, std::string& why);

} // namespace vdist::kernels::cuda
