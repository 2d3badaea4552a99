// kernels/cuda/faults.hpp — launchers of faults on purpose (faults.cu), with the rules of launch.hpp.
#pragma once

#include "kernels/cuda/launch.hpp"
#include "kernels/device_fault.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>

namespace vdist::kernels::cuda {

/// What is enqueued behind it never runs.
[[nodiscard]] cudaError_t
inject(injected_fault what, const device_limits& device, cudaStream_t stream) noexcept;

/// One bit of `word`, in device memory, becomes another one.
[[nodiscard]] cudaError_t flip_bit(std::uint32_t* word, cudaStream_t stream) noexcept;

} // namespace vdist::kernels::cuda
