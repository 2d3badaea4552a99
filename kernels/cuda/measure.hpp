// kernels/cuda/measure.hpp — what a device reaches at best, for figures beside it: the same memory and matrix units, with
// nothing of a model around them. Takes about a second and 2.5 GiB of device memory.
#pragma once

#include "kernels/cuda_module.hpp"

#include <string>

namespace vdist::kernels::cuda {

/// Medians of several runs. `why` is set when something failed.
[[nodiscard]] device_rates measure(std::int32_t device, std::string& why);

} // namespace vdist::kernels::cuda
