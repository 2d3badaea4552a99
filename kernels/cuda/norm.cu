// kernels/cuda/norm.cu — RMSNorm and LayerNorm, kernels/norm/norm.hpp.
//
// A block per row, eight elements per thread in registers, so that the row is read once; what a row has beyond 1024
// threads is read again for each pass (from L1 or L2). Rows of at most 256 elements get one warp each, four to a block.
// LayerNorm takes the variance around the mean, in a second pass over the registers. Weights and bias are loaded before
// the kernel waits for its predecessor: nobody writes them.
// Sums: each thread in rising order, then butterflies over lanes and warps; a function of the width alone.
// Grid: rows (or rows / 4); block: width / 8 threads, whole warps, at most 1024 (or 128).
// Bytes: rows * width * (size of x + size of y); flops: 4 (RMSNorm), 7 (LayerNorm) per element.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/norm/norm.hpp"

#include <algorithm>

namespace vdist::kernels::cuda {

namespace {

constexpr int elements_held = 8; // per thread
constexpr int warp_width_max = warp_lanes * elements_held;
constexpr int warps_per_block = 4; // where each has a row of its own

struct norm_task {
  const void* x;
  const float* weight;
  const float* bias; // nullptr: none
  void* y;
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  std::int64_t y_stride;
  float eps;
  bool is_aligned; // x, y, weight and bias take vector accesses
};

/// Sums over the threads of one row.
template <bool IsWarp>
__device__ __forceinline__ float sum_row(float x, float* scratch) {
  if constexpr (IsWarp) {
    return sum_lanes(x);
  } else {
    return sum_block(x, scratch);
  }
}

/// Calls f(first, values, held) for the chunks of one row that this thread has: first those in registers, with their
/// number, then those that are read again, with number -1.
template <int N, int Held, class X, class F>
__device__ __forceinline__ void for_each_chunk(const norm_task& task,
                                               const X* x,
                                               int thread,
                                               int threads,
                                               float (&held)[Held][N],
                                               const F& f) {
#pragma unroll
  for (int c = 0; c < Held; ++c) {
    const int first = (c * threads + thread) * N;
    if (first < task.width) {
      f(first, held[c], c);
    }
  }
  for (int first = (Held * threads + thread) * N; first < task.width; first += threads * N) {
    float again[N];
    load_chunk(x, first, task.width, task.is_aligned, again);
    f(first, again, -1);
  }
}

template <bool IsLayer, bool IsWarp, class X, class Y>
__global__ void __launch_bounds__(1024) norm_rows(const norm_task task) {
  let_successor_start();
  constexpr int N = chunk_of<X, Y>;
  constexpr int Held = elements_held / N;
  __shared__ float scratch[2][block_warps_max];
  const int thread = static_cast<int>(IsWarp ? threadIdx.x % warp_lanes : threadIdx.x);
  const int threads = static_cast<int>(IsWarp ? warp_lanes : blockDim.x);
  const std::int64_t row =
      IsWarp ? static_cast<std::int64_t>(blockIdx.x) * warps_per_block + threadIdx.x / warp_lanes
             : static_cast<std::int64_t>(blockIdx.x);
  if (IsWarp && row >= task.rows) {
    return;
  }
  const int width = task.width;
  const bool has_bias = IsLayer && task.bias != nullptr;
  float weight[Held][N];
  float bias[Held][N];
#pragma unroll
  for (int c = 0; c < Held; ++c) {
    const int first = (c * threads + thread) * N;
    load_chunk(task.weight, first, width, task.is_aligned, weight[c]);
    load_chunk(task.bias, first, has_bias ? width : 0, task.is_aligned, bias[c]);
  }

  wait_for_predecessor();
  const X* x = static_cast<const X*>(task.x) + row * task.x_stride;
  Y* y = static_cast<Y*>(task.y) + row * task.y_stride;
  float held[Held][N];
#pragma unroll
  for (int c = 0; c < Held; ++c) {
    load_chunk(x, (c * threads + thread) * N, width, task.is_aligned, held[c]);
  }

  float mean = 0.0F;
  if constexpr (IsLayer) {
    float sum = 0.0F;
    for_each_chunk(task, x, thread, threads, held, [&sum](int, const float(&v)[N], int) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sum += v[i];
      }
    });
    mean = sum_row<IsWarp>(sum, scratch[0]) / static_cast<float>(width);
  }
  float squares = 0.0F;
  for_each_chunk(
      task, x, thread, threads, held, [&squares, mean, width](int first, const float(&v)[N], int) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const float d = !IsLayer || first + i < width
                              ? v[i] - mean
                              : 0.0F; // zeros behind the row are no elements
          squares = fmaf(d, d, squares);
        }
      });
  const float variance = sum_row<IsWarp>(squares, scratch[1]) / static_cast<float>(width);
  const float scale = 1.0F / sqrtf(variance + task.eps);

  for_each_chunk(task, x, thread, threads, held, [&](int first, const float(&v)[N], int c) {
    float w[N];
    float b[N];
    float out[N];
    if (c >= 0) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        w[i] = weight[c][i];
        b[i] = bias[c][i];
      }
    } else {
      load_chunk(task.weight, first, width, task.is_aligned, w);
      load_chunk(task.bias, first, has_bias ? width : 0, task.is_aligned, b);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      out[i] = IsLayer ? fmaf((v[i] - mean) * scale, w[i], b[i]) : v[i] * scale * w[i];
    }
    store_chunk(y, first, width, task.is_aligned, out);
  });
}

template <bool IsLayer>
cudaError_t start(const norm_task& task, dtype x_type, dtype y_type, cudaStream_t stream) noexcept {
  if (task.rows == 0) {
    return cudaSuccess;
  }
  const bool is_warp = task.width <= warp_width_max;
  const int threads = (task.width + elements_held - 1) / elements_held;
  const int whole_warps = (threads + warp_lanes - 1) / warp_lanes * warp_lanes;
  const launch_shape shape =
      is_warp ? launch_shape{dim3(static_cast<unsigned>((task.rows + warps_per_block - 1)
                                                        / warps_per_block)),
                             dim3(warps_per_block * warp_lanes)}
              : launch_shape{dim3(static_cast<unsigned>(task.rows)),
                             dim3(static_cast<unsigned>(std::min(whole_warps, 1024)))};
  with_type(x_type, [&](auto x) {
    return with_type(y_type, [&](auto y) {
      using X = decltype(x);
      using Y = decltype(y);
      return is_warp ? launch(norm_rows<IsLayer, true, X, Y>, shape, stream, task)
                     : launch(norm_rows<IsLayer, false, X, Y>, shape, stream, task);
    });
  });
  return cudaPeekAtLastError();
}

} // namespace

cudaError_t rms_norm(const rms_norm_args& args, cudaStream_t stream) noexcept {
  const bool is_aligned = is_vector_aligned(args.x, args.x_stride)
                          && is_vector_aligned(args.y, args.y_stride)
                          && is_vector_aligned(args.weight, 0, dtype::float32);
  return start<false>({.x = args.x.data,
                       .weight = args.weight,
                       .bias = nullptr,
                       .y = args.y.data,
                       .rows = args.rows,
                       .width = args.width,
                       .x_stride = args.x_stride,
                       .y_stride = args.y_stride,
                       .eps = args.eps,
                       .is_aligned = is_aligned},
                      args.x.type,
                      args.y.type,
                      stream);
}

cudaError_t layer_norm(const layer_norm_args& args, cudaStream_t stream) noexcept {
  const bool is_aligned = is_vector_aligned(args.x, args.x_stride)
                          && is_vector_aligned(args.y, args.y_stride)
                          && is_vector_aligned(args.weight, 0, dtype::float32)
                          && is_vector_aligned(args.bias, 0, dtype::float32);
  return start<true>({.x = args.x.data,
                      .weight = args.weight,
                      .bias = args.bias,
                      .y = args.y.data,
                      .rows = args.rows,
                      .width = args.width,
                      .x_stride = args.x_stride,
                      .y_stride = args.y_stride,
                      .eps = args.eps,
                      .is_aligned = is_aligned},
                     args.x.type,
                     args.y.type,
                     stream);
}

} // namespace vdist::kernels::cuda
