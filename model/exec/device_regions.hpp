// model/exec/device_regions.hpp — which regions of a vault are memory of a GPU when the workers run on GPUs, and how a
// worker process uses those that the vault's process made (transport/vault/device_memory.hpp).
#pragma once

#include "transport/vault/device_memory.hpp"

#include <functional>

namespace vdist::exec {

/// The device of a rank's regions.
using device_of_rank = std::function<std::int32_t(rank_id)>;

/// Weights, KV cache, and what ranks exchange from device to device. The rest is the host's.
[[nodiscard]] bool is_device_region(const ::vdist::vault::region_key& key);

/// For the vault client of a worker on `device`. Regions of a rank lie on the device of that rank; all that is mapped is
/// for kernels and copies of `device`, which reaches it. libvdist_cuda.so is loaded by the first map() of such a region.
/// Thread-safe.
[[nodiscard]] ::vdist::vault::device_access access_to_devices(std::int32_t device,
                                                              device_of_rank device_of);

} // namespace vdist::exec
