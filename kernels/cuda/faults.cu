// kernels/cuda/faults.cu — kernels and copies that do on purpose what broken ones do (kernels/device_fault.hpp). Nothing calls
// them but fault scripts. They trap on nothing and assert nothing: what becomes of them is up to the driver.
// Grid: one block, or as many as fill the device. Architectures: sm_80 and newer.
#include "kernels/cuda/faults.hpp"
#include "kernels/cuda/shared_library.hpp"

#include <cuda.h>

#include <cstdint>

namespace vdist::kernels::cuda {

namespace {

constexpr unsigned stuck_threads = 1024;
constexpr unsigned stuck_blocks_per_multiprocessor = 2; // 2048 threads are all that one holds

/// In the first page, which is never mapped.
constexpr std::uintptr_t unmapped_address = 0x100;

__global__ void store_at(std::uint32_t* address) {
  asm volatile("st.global.u32 [%0], %1;" ::"l"(address), "r"(1U) : "memory");
}

/// Until time is 0 again.
__global__ void __launch_bounds__(stuck_threads) never_end() {
  std::uint64_t now = 1;
  while (now != 0) {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  }
}

__device__ std::uint32_t never_written; // 0

/// The stream waits for a word of memory, which no kernel does, and copies into it.
cudaError_t stick_copy(cudaStream_t stream) {
  decltype(&cuStreamWaitValue32) wait_for_value = nullptr;
  driver_library library;
  library.find("cuStreamWaitValue32_v2", wait_for_value);
  void* word = nullptr;
  if (wait_for_value == nullptr) {
    return cudaErrorNotSupported;
  }
  if (const auto status = cudaGetSymbolAddress(&word, never_written); status != cudaSuccess) {
    return status;
  }
  const auto at = reinterpret_cast<CUdeviceptr>(word);
  if (wait_for_value(stream, at, 1, CU_STREAM_WAIT_VALUE_EQ) != CUDA_SUCCESS) {
    return cudaErrorUnknown;
  }
  return cudaMemsetAsync(word, 0, sizeof(never_written), stream);
}

__global__ void flip(std::uint32_t* word) {
  *word ^= 1U << 22U; // of a float: the highest bit of its fraction
}

} // namespace

cudaError_t inject(injected_fault what, const device_limits& device, cudaStream_t stream) noexcept {
  switch (what) {
  case injected_fault::illegal_address:
    store_at<<<1, 1, 0, stream>>>(reinterpret_cast<std::uint32_t*>(unmapped_address));
    break;
  case injected_fault::stuck_kernel:
    never_end<<<1, 1, 0, stream>>>();
    break;
  case injected_fault::stuck_device:
    never_end<<<static_cast<unsigned>(device.multiprocessors) * stuck_blocks_per_multiprocessor,
                stuck_threads,
                0,
                stream>>>();
    break;
  case injected_fault::stuck_copy:
    return stick_copy(stream);
  }
  return cudaPeekAtLastError();
}

cudaError_t flip_bit(std::uint32_t* word, cudaStream_t stream) noexcept {
  flip<<<1, 1, 0, stream>>>(word);
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
