// kernels/cuda/measure.cu — a streaming read of 2 GiB, 16 bytes per access, every element added up so that none can be
// left out; and one large matrix product through cuBLASLt on random bfloat16 numbers (zeros would run faster).
#include "kernels/cuda/linear_lt.hpp"
#include "kernels/cuda/measure.hpp"

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace vdist::kernels::cuda {

namespace {

constexpr std::size_t stream_bytes = std::size_t{2} << 30U;
constexpr std::int32_t gemm_size = 8192;
constexpr int runs = 9;
constexpr int threads = 512;
constexpr int loads_at_once = 8;

__global__ void __launch_bounds__(threads)
    read_all(const uint4* data, std::size_t count, uint32_t* sink) {
  uint32_t sum = 0;
  const std::size_t stride = std::size_t{gridDim.x} * threads;
  std::size_t i = std::size_t{blockIdx.x} * threads + threadIdx.x;
  for (; i + (loads_at_once - 1) * stride < count; i += loads_at_once * stride) {
    uint4 got[loads_at_once];
#pragma unroll
    for (int k = 0; k < loads_at_once; ++k) {
      got[k] = __ldcs(data + i + k * stride);
    }
#pragma unroll
    for (int k = 0; k < loads_at_once; ++k) {
      sum += got[k].x ^ got[k].y ^ got[k].z ^ got[k].w;
    }
  }
  for (; i < count; i += stride) {
    sum += __ldcs(data + i).x;
  }
  if (sum == 0x12345678U) { // never true for long; keeps the loads
    *sink = sum;
  }
}

/// Uniform in [-1, 1), from a hash of the place.
__global__ void fill_random(__nv_bfloat16* data, std::size_t count) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9E3779B9U + 0x7F4A7C15U;
    x ^= x >> 16;
    x *= 0x85EBCA6BU;
    x ^= x >> 13;
    data[i] = __float2bfloat16_rn(static_cast<float>(x >> 8) * 0x1p-23F - 1.0F);
  }
}

/// Seconds of one call on the stream, median of several.
double
median_seconds(cudaStream_t stream, cudaError_t& status, const std::function<cudaError_t()>& work) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  status = cudaEventCreate(&begin);
  if (status == cudaSuccess) {
    status = cudaEventCreate(&end);
  }
  std::vector<double> seconds;
  for (int i = 0; i < runs + 2 && status == cudaSuccess; ++i) {
    (void)cudaEventRecord(begin, stream);
    status = work();
    (void)cudaEventRecord(end, stream);
    if (status == cudaSuccess) {
      status = cudaEventSynchronize(end);
    }
    float ms = 0;
    (void)cudaEventElapsedTime(&ms, begin, end);
    if (i >= 2) { // the first ones load kernels and fill caches
      seconds.push_back(ms * 1e-3);
    }
  }
  (void)cudaEventDestroy(begin);
  (void)cudaEventDestroy(end);
  if (seconds.empty()) {
    return 1;
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

double
read_rate(void* memory, std::int32_t multiprocessors, cudaStream_t stream, cudaError_t& status) {
  const auto seconds = median_seconds(stream, status, [&] {
    read_all<<<static_cast<unsigned>(4 * multiprocessors), threads, 0, stream>>>(
        static_cast<const uint4*>(memory),
        stream_bytes / sizeof(uint4),
        static_cast<uint32_t*>(memory));
    return cudaPeekAtLastError();
  });
  return static_cast<double>(stream_bytes) / seconds;
}

double gemm_rate(std::byte* memory,
                 std::int32_t multiprocessors,
                 cudaStream_t stream,
                 cudaError_t& status) {
  constexpr std::size_t matrix_bytes = std::size_t{gemm_size} * gemm_size * sizeof(__nv_bfloat16);
  fill_random<<<static_cast<unsigned>(multiprocessors), 1024, 0, stream>>>(
      reinterpret_cast<__nv_bfloat16*>(memory), 2 * matrix_bytes / sizeof(__nv_bfloat16));
  lt_linear lt(
      memory + 3 * matrix_bytes, lt_linear::workspace_bytes, {.multiprocessors = multiprocessors});
  const linear_args product{.x = const_elements(memory, dtype::bfloat16),
                            .weight = memory + matrix_bytes,
                            .bias = nullptr,
                            .y = elements(memory + 2 * matrix_bytes, dtype::bfloat16),
                            .tokens = gemm_size,
                            .in_features = gemm_size,
                            .out_features = gemm_size,
                            .x_stride = gemm_size,
                            .y_stride = gemm_size,
                            .weight_dtype = dtype::bfloat16,
                            .reduction_leaves = 1};
  const auto seconds =
      median_seconds(stream, status, [&] { return lt.run(product, false, stream); });
  return 2.0 * gemm_size * gemm_size * gemm_size / seconds;
}

} // namespace

device_rates measure(std::int32_t device, std::string& why) {
  device_rates rates;
  int multiprocessors = 0;
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  auto status = cudaSetDevice(device);
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (status == cudaSuccess) {
    status = cudaMalloc(&memory, stream_bytes);
  }
  if (status == cudaSuccess) {
    status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  }
  if (status == cudaSuccess) {
    fill_random<<<static_cast<unsigned>(multiprocessors), 1024, 0, stream>>>(
        static_cast<__nv_bfloat16*>(memory), stream_bytes / sizeof(__nv_bfloat16));
    rates.read_bytes_per_s = read_rate(memory, multiprocessors, stream, status);
  }
  if (status == cudaSuccess) {
    rates.gemm_flops_per_s =
        gemm_rate(static_cast<std::byte*>(memory), multiprocessors, stream, status);
  }
  if (status != cudaSuccess) {
    why = "measure device " + std::to_string(device) + ": " + cudaGetErrorString(status);
  }
  if (stream != nullptr) {
    (void)cudaStreamDestroy(stream);
  }
  (void)cudaFree(memory);
  return rates;
}

} // namespace vdist::kernels::cuda
