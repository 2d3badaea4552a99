// model/exec/device_regions.hpp — which regions of a vault are memory of a GPU when the workers run on GPUs, and how a
// worker process uses those that the vault's process made (transport/vault/device_memory.hpp).
#pragma once

#include "transport/vault/device_memory.hpp"

namespace vdist::exec {

/// Weights and KV cache. What ranks exchange, words and rings are the host's.
[[nodiscard]] bool is_device_region(const ::vdist::vault::region_key& key);

/// For the vault client of a worker whose device this is. libvdist_cuda.so is loaded by the first map() of such a region;
/// the mapped memory is for kernels and copies of that device. Thread-safe.
[[nodiscard]] ::vdist::vault::device_access access_to_device(std::int32_t device);

} // namespace vdist::exec
