// kernels/cuda/checksum.cu — the sum over a piece of memory, kernels/checksum/checksum.hpp.
//
// A thread adds up units of two words, `unrolled` of them at once so that enough loads are under way, one grid's width
// apart; blocks meet in one integer atomic each, whose order cannot change the sum. Grid: enough blocks to fill the device.
// Bytes: those of the data, read once; 16 GB take about 4 ms on an H200. Architectures: sm_80 and newer.
#include "kernels/checksum/checksum.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/reduce.cuh"

#include <algorithm>
#include <cstdint>

namespace vdist::kernels::cuda {

namespace {

using word_sum = unsigned long long; // what 64-bit atomics take

constexpr int checksum_threads = 256;
constexpr int blocks_per_multiprocessor = 8;
constexpr int unrolled = 4;
constexpr std::size_t unit_bytes = 16;

__device__ __forceinline__ std::uint64_t word_of(unsigned low, unsigned high) {
  return std::uint64_t{high} << 32U | low;
}

__device__ __forceinline__ word_sum sum_of(const uint4& unit, std::size_t at) {
  return checksum_mix(word_of(unit.x, unit.y), 2 * at)
         + checksum_mix(word_of(unit.z, unit.w), 2 * at + 1);
}

/// Of the words behind the last whole unit, and of the length.
__device__ word_sum sum_of_tail(const unsigned char* data, std::size_t bytes) {
  word_sum sum = checksum_length(bytes);
  for (std::size_t first = bytes / unit_bytes * unit_bytes; first < bytes; first += 8) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8 && first + i < bytes; ++i) {
      word |= std::uint64_t{data[first + i]} << (8 * i);
    }
    sum += checksum_mix(word, first / 8);
  }
  return sum;
}

__global__ void __launch_bounds__(checksum_threads)
    add_up(const uint4* data, std::size_t bytes, word_sum* total) {
  __shared__ word_sum scratch[block_warps_max];
  const std::size_t units = bytes / unit_bytes;
  const std::size_t hop = std::size_t{gridDim.x} * checksum_threads;
  std::size_t at = std::size_t{blockIdx.x} * checksum_threads + threadIdx.x;
  word_sum sum = 0;
  for (; at + (unrolled - 1) * hop < units; at += unrolled * hop) {
    uint4 read[unrolled];
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      read[i] = __ldcs(data + at + i * hop); // once: it should not drive anything out of the cache
    }
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      sum += sum_of(read[i], at + i * hop);
    }
  }
  for (; at < units; at += hop) {
    sum += sum_of(__ldcs(data + at), at);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    sum += sum_of_tail(reinterpret_cast<const unsigned char*>(data), bytes);
  }
  sum = sum_block(sum, scratch);
  if (threadIdx.x == 0) {
    atomicAdd(total, sum);
  }
}

} // namespace

cudaError_t
checksum(const checksum_args& args, const device_limits& device, cudaStream_t stream) noexcept {
  const cudaError_t cleared = cudaMemsetAsync(args.sum, 0, sizeof(std::uint64_t), stream);
  if (cleared != cudaSuccess) {
    return cleared;
  }
  const std::size_t wanted = args.bytes / (unit_bytes * checksum_threads) + 1;
  const auto most = static_cast<std::size_t>(device.multiprocessors) * blocks_per_multiprocessor;
  // An ordinary launch: what it follows is no kernel that it could overlap.
  add_up<<<static_cast<unsigned>(std::min(wanted, most)), checksum_threads, 0, stream>>>(
      static_cast<const uint4*>(args.data), args.bytes, reinterpret_cast<word_sum*>(args.sum));
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
