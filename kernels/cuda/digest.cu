// kernels/cuda/digest.cu — the digest of hidden rows that ranks of a stage compare: kernels/sampling/sampling.hpp.
// A sum of 64-bit integers, so no order of adding can change it. Grid: (rows, blocks along a row) of 256 threads, one
// integer atomic per block; bytes: 4 * width per row. Architectures: sm_80 and newer.
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/sampling/sampling.hpp"

#include <algorithm>
#include <cstdint>

namespace vdist::kernels::cuda {

namespace {

using mass_sum = unsigned long long; // what 64-bit atomics take

constexpr int digest_threads = 256;

/// digest_mix() of kernels/sampling/sampling.hpp.
__device__ __forceinline__ std::uint64_t mix(std::uint32_t bits, std::uint64_t place) {
  std::uint64_t x = bits ^ (place * 0x9E3779B97F4A7C15ULL);
  x ^= x >> 32U;
  x *= 0xD6E8FEB86659FD93ULL;
  x ^= x >> 29U;
  x *= 0x9FB21C651E98DF25ULL;
  x ^= x >> 32U;
  return x;
}

__global__ void __launch_bounds__(digest_threads) digest_rows(const digest_args args) {
  let_successor_start();
  __shared__ mass_sum scratch[block_warps_max];
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  wait_for_predecessor();
  const std::int32_t index = args.indices[row];
  if (index < 0) {
    return;
  }
  const float* x = args.x + (args.is_in_order ? row : index) * args.x_stride;
  mass_sum sum = 0;
  for (std::int32_t c = static_cast<std::int32_t>(blockIdx.y * digest_threads + threadIdx.x);
       c < args.width;
       c += static_cast<std::int32_t>(gridDim.y * digest_threads)) {
    sum += mix(__float_as_uint(x[c]), static_cast<std::uint64_t>(row * args.width + c));
  }
  sum = sum_block(sum, scratch);
  if (threadIdx.x == 0) {
    atomicAdd(reinterpret_cast<mass_sum*>(args.digest), sum);
  }
}

} // namespace

cudaError_t digest(const digest_args& args, cudaStream_t stream) noexcept {
  const cudaError_t cleared =
      args.adds ? cudaSuccess : cudaMemsetAsync(args.digest, 0, sizeof(std::uint64_t), stream);
  if (cleared != cudaSuccess || args.rows == 0 || args.width == 0) {
    return cleared;
  }
  // An ordinary launch: what it follows is no kernel that it could overlap.
  const unsigned blocks = std::min((static_cast<unsigned>(args.width) + 1023) / 1024, 8U);
  digest_rows<<<dim3(static_cast<unsigned>(args.rows), blocks), digest_threads, 0, stream>>>(args);
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
