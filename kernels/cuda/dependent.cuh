// kernels/cuda/dependent.cuh — launches whose blocks may start while the kernel before them in the stream still runs
// (programmatic dependent launch, sm_90 and newer; elsewhere an ordinary launch). It hides the launch and the loading of
// weights, which nobody writes; everything else waits in wait_for_predecessor().
//
// D-1 Every kernel calls let_successor_start() first and wait_for_predecessor() before it touches memory that another
//     kernel of the stream writes, or before it writes at all. So a kernel has waited for all kernels before it, not only
//     for the last one: each of them ended behind its own wait.
#pragma once

#include <cuda_device_runtime_api.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

namespace vdist::kernels::cuda {

__device__ __forceinline__ void let_successor_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ __forceinline__ void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// Shape of a launch.
struct launch_shape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0; // dynamic; beyond 48 KiB the launcher has opted in
};

/// Launches `kernel` so that it may start early. Parameters are converted to the kernel's own types.
template <class... Params, class... Args>
cudaError_t
launch(void (*kernel)(Params...), const launch_shape& shape, cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...);
}

} // namespace vdist::kernels::cuda
