// kernels/cuda/linear_any.cu — linears of any shape, alignment, stride and combination of types, for what neither the small
// kernel nor cuBLASLt takes: simple first, fast second. And the bias of products that cuBLASLt cannot add it to.
//
// Algorithm. A block computes 64 tokens x 64 outputs, a thread 4 x 4 of them. Slices of 16 elements of k go through shared
//   memory as floats; each slice is summed with fused multiply-adds and joins the total with one addition. So rounding
//   errors grow with 16 + in / 16 instead of in, and nothing is rounded to tf32.
// Grid: (out / 64, tokens / 64). Block: 256 threads, 8.25 KiB of shared memory.
// Bytes: out in weights per 64 tokens, tokens in of x per 64 outputs; flops: 2 tokens in out. Architectures: any.
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/linear_lt.hpp"

#include <algorithm>
#include <cstdint>

namespace vdist::kernels::cuda {

namespace {

constexpr int tile = 64; // tokens and outputs of a block
constexpr int slice = 16;
constexpr int side = 16; // threads per side of a tile
constexpr int per_thread = tile / side;
constexpr int pitch = tile + 2; // floats: 16 k of two rows are written to 32 banks
constexpr int threads = side * side;

/// Transposes a slice of 64 rows into shared memory; zeros beyond the matrix.
template <class T>
__device__ __forceinline__ void load_slice(float (&to)[slice][pitch],
                                           const T* from,
                                           std::int64_t stride,
                                           int first_row,
                                           int rows,
                                           int first_k,
                                           int width) {
#pragma unroll
  for (int i = 0; i < tile * slice / threads; ++i) {
    const int element = static_cast<int>(threadIdx.x) + i * threads;
    const int row = first_row + element / slice;
    const int k = first_k + element % slice;
    to[element % slice][element / slice] =
        row < rows && k < width ? to_float(from[row * stride + k]) : 0.0F;
  }
}

template <class W, class X, class Y>
__global__ void __launch_bounds__(threads) any_linear_kernel(const linear_args a, bool adds) {
  __shared__ float weights[slice][pitch];
  __shared__ float tokens[slice][pitch];
  let_successor_start();
  wait_for_predecessor();
  const int column = static_cast<int>(threadIdx.x) % side; // outputs column + 16 j
  const int row = static_cast<int>(threadIdx.x) / side;    // tokens row + 16 i
  const int first_output = static_cast<int>(blockIdx.x) * tile;
  const int first_token = static_cast<int>(blockIdx.y) * tile;
  const auto* weight = static_cast<const W*>(a.weight);
  const auto* x = static_cast<const X*>(a.x.data);
  float sums[per_thread][per_thread] = {};
  for (int k = 0; k < a.in_features; k += slice) {
    load_slice(weights, weight, a.in_features, first_output, a.out_features, k, a.in_features);
    load_slice(tokens, x, a.x_stride, first_token, a.tokens, k, a.in_features);
    __syncthreads();
    float part[per_thread][per_thread] = {};
#pragma unroll
    for (int s = 0; s < slice; ++s) {
#pragma unroll
      for (int i = 0; i < per_thread; ++i) {
#pragma unroll
        for (int j = 0; j < per_thread; ++j) {
          part[i][j] = fmaf(tokens[s][row + side * i], weights[s][column + side * j], part[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
#pragma unroll
      for (int j = 0; j < per_thread; ++j) {
        sums[i][j] += part[i][j];
      }
    }
    __syncthreads();
  }
  auto* y = static_cast<Y*>(a.y.data);
#pragma unroll
  for (int i = 0; i < per_thread; ++i) {
#pragma unroll
    for (int j = 0; j < per_thread; ++j) {
      const int token = first_token + row + side * i;
      const int output = first_output + column + side * j;
      if (token < a.tokens && output < a.out_features) {
        Y* const to = y + token * a.y_stride + output;
        const float sum = sums[i][j] + (a.bias != nullptr ? a.bias[output] : 0.0F);
        *to = from_float<Y>(adds ? to_float(*to) + sum : sum);
      }
    }
  }
}

/// y[t, i] += bias[i]; a block takes 256 columns of every gridDim.y-th row.
template <class Y>
__global__ void __launch_bounds__(threads) add_bias_kernel(const linear_args a) {
  let_successor_start();
  wait_for_predecessor();
  const int output = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (output >= a.out_features) {
    return;
  }
  const float bias = a.bias[output];
  auto* y = static_cast<Y*>(a.y.data);
  for (int token = static_cast<int>(blockIdx.y); token < a.tokens;
       token += static_cast<int>(gridDim.y)) {
    Y* const to = y + token * a.y_stride + output;
    *to = from_float<Y>(to_float(*to) + bias);
  }
}

unsigned blocks_for(int count, int size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

} // namespace

cudaError_t any_linear(const linear_args& args, bool adds, cudaStream_t stream) noexcept {
  if (args.tokens <= 0 || args.out_features <= 0) {
    return cudaSuccess;
  }
  const launch_shape shape{
      .grid = dim3(blocks_for(args.out_features, tile), blocks_for(args.tokens, tile)),
      .block = dim3(threads)};
  with_type(args.weight_dtype, [&args, adds, &shape, stream](auto w) {
    with_type(args.x.type, [&args, adds, &shape, stream](auto x) {
      with_type(args.y.type, [&args, adds, &shape, stream](auto y) {
        (void)launch(
            any_linear_kernel<decltype(w), decltype(x), decltype(y)>, shape, stream, args, adds);
      });
    });
  });
  return cudaPeekAtLastError();
}

cudaError_t add_bias(const linear_args& args, cudaStream_t stream) noexcept {
  if (args.tokens <= 0 || args.out_features <= 0) {
    return cudaSuccess;
  }
  constexpr int rows_of_blocks = 64; // bounds the grid; enough for any device
  const launch_shape shape{.grid =
                               dim3(blocks_for(args.out_features, threads),
                                    static_cast<unsigned>(std::min(args.tokens, rows_of_blocks))),
                           .block = dim3(threads)};
  with_type(args.y.type, [&args, &shape, stream](auto y) {
    (void)launch(add_bias_kernel<decltype(y)>, shape, stream, args);
  });
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
