// kernels/cuda/reduce.cuh — sums over the lanes of a warp and the threads of a block, in a fixed order, so that equal
// inputs give equal bits (N-4).
#pragma once

#include <cstdint>

namespace vdist::kernels::cuda {

inline constexpr int warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xffffffffU;
inline constexpr int block_warps_max = 32;

/// The sum over each group of `Lanes` neighbouring lanes, in every lane of it. The whole warp calls it; a butterfly adds
/// the same two numbers in both partners, so all lanes hold the same bits.
template <int Lanes = warp_lanes, class T>
__device__ __forceinline__ T sum_lanes(T x) {
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(all_lanes, x, distance);
  }
  return x;
}

/// The sum over all threads of a block of whole warps, in every thread. `scratch` is shared memory of one number per
/// warp; a barrier must lie between two uses of the same.
template <class T>
__device__ __forceinline__ T sum_block(T x, T* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes;
  const int warps = static_cast<int>(blockDim.x) / warp_lanes;
  x = sum_lanes(x);
  if (lane == 0) {
    scratch[warp] = x;
  }
  __syncthreads();
  return sum_lanes(lane < warps ? scratch[lane] : T{});
}

} // namespace vdist::kernels::cuda
