// kernels/cuda/device_facts.hpp — what a device is and has, asked without a context on it: a context takes half a GiB of the
// device's memory, and the process that plans a cluster never computes. Thread-safe.
#pragma once

#include "kernels/cuda_module.hpp"

#include <cstdint>
#include <string>

namespace vdist::kernels::cuda {

/// `device` is there. `why` is set when it does not answer, nobody may use it (compute mode), somebody uses it alone, or
/// it is older than sm_80. Where the management library is missing (nvml.hpp), free memory costs a context.
[[nodiscard]] device_facts facts_of(std::int32_t device, std::string& why);

/// As cuda_module::can_access(); both devices are there.
[[nodiscard]] bool can_access(std::int32_t device, std::int32_t peer, std::string& why);

} // namespace vdist::kernels::cuda
