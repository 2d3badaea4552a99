// kernels/cuda/elementwise.cu — activations and the residual addition, kernels/activation/activation.hpp.
//
// One thread per chunk of 4 or 8 neighbouring elements (16 bytes of the widest type). Grid: (rows, blocks along a row);
// block: 128 threads for few rows, 256 for many.
// silu and gelu_tanh are both x / (1 + exp(-z)): (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for
// negative u. Where the result is rounded to 16 bits the hardware's exp and reciprocal serve: their relative error,
// about (2 + |z|) 2^-23, lies far below the rounding, and with the exact ones the kernel would be bound by arithmetic.
// Bytes per element: gated_activation 2 x + y, activation 2 x, add_residual 2 hidden + delta; flops: about 10.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/activation/activation.hpp"
#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"

namespace vdist::kernels::cuda {

namespace {

/// x / (1 + exp(-z))
template <bool IsExact>
__device__ __forceinline__ float logistic_product(float x, float z) {
  if constexpr (IsExact) {
    return x / (1.0F + expf(-z));
  } else {
    return __fdividef(x, 1.0F + __expf(-z));
  }
}

template <activation_kind Kind, bool IsExact>
__device__ __forceinline__ float apply(float x) {
  if constexpr (Kind == activation_kind::silu) {
    return logistic_product<IsExact>(x, x);
  } else if constexpr (Kind == activation_kind::gelu_tanh) {
    return logistic_product<IsExact>(
        x, 1.595769122F * fmaf(x * x * x, 0.044715F, x)); // 2 sqrt(2 / pi)
  } else if constexpr (Kind == activation_kind::gelu_erf) {
    return 0.5F * x * (1.0F + erff(x * 0.707106769F));
  } else {
    return x < 0.0F ? 0.0F : x; // keeps NaN
  }
}

template <activation_kind Kind, bool IsExact, int N>
__device__ __forceinline__ void apply_all(float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    x[i] = apply<Kind, IsExact>(x[i]);
  }
}

/// The kind is decided once per chunk; the branch is the same for all threads.
template <bool IsExact, int N>
__device__ __forceinline__ void apply_all(activation_kind kind, float (&x)[N]) {
  switch (kind) {
  case activation_kind::silu:
    apply_all<activation_kind::silu, IsExact>(x);
    break;
  case activation_kind::gelu_tanh:
    apply_all<activation_kind::gelu_tanh, IsExact>(x);
    break;
  case activation_kind::gelu_erf:
    apply_all<activation_kind::gelu_erf, IsExact>(x);
    break;
  case activation_kind::relu:
    apply_all<activation_kind::relu, IsExact>(x);
    break;
  }
}

template <class X, class Y>
__global__ void __launch_bounds__(256)
    gate_rows(const gated_activation_args args, bool is_aligned) {
  let_successor_start();
  constexpr int N = chunk_of<X, Y>;
  const int first = first_of_chunk<N>();
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  wait_for_predecessor();
  if (first >= args.width) {
    return;
  }
  const X* gate = static_cast<const X*>(args.gate_up.data) + row * args.x_stride;
  float f[N];
  float up[N];
  load_chunk(gate, first, args.width, is_aligned, f);
  load_chunk(gate + args.width, first, args.width, is_aligned, up);
  apply_all<sizeof(Y) == 4>(args.kind, f);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    f[i] *= up[i];
  }
  store_chunk(static_cast<Y*>(args.y.data) + row * args.y_stride, first, args.width, is_aligned, f);
}

template <class X>
__global__ void __launch_bounds__(256) activate_rows(const activation_args args, bool is_aligned) {
  let_successor_start();
  constexpr int N = chunk_of<X>;
  const int first = first_of_chunk<N>();
  wait_for_predecessor();
  if (first >= args.width) {
    return;
  }
  X* x = static_cast<X*>(args.x.data) + static_cast<std::int64_t>(blockIdx.x) * args.x_stride;
  float f[N];
  load_chunk(x, first, args.width, is_aligned, f);
  apply_all<sizeof(X) == 4>(args.kind, f);
  store_chunk(x, first, args.width, is_aligned, f);
}

template <class H, class D>
__global__ void __launch_bounds__(256) add_rows(const add_residual_args args, bool is_aligned) {
  let_successor_start();
  constexpr int N = chunk_of<H, D>;
  const int first = first_of_chunk<N>();
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  float bias[N];
  load_chunk(args.bias, first, args.bias != nullptr ? args.width : 0, is_aligned, bias);
  wait_for_predecessor();
  if (first >= args.width) {
    return;
  }
  H* to = static_cast<H*>(args.hidden.data) + row * args.hidden_stride;
  const D* from = static_cast<const D*>(args.delta.data) + row * args.delta_stride;
  float hidden[N];
  float delta[N];
  load_chunk(to, first, args.width, is_aligned, hidden);
  load_chunk(from, first, args.width, is_aligned, delta);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    hidden[i] += delta[i] + bias[i];
  }
  store_chunk(to, first, args.width, is_aligned, hidden);
}

launch_shape shape_for(std::int32_t rows, std::int32_t width, int per_thread) noexcept {
  const row_grid grid = choose_row_grid(rows, width, per_thread);
  return {dim3(grid.rows, grid.blocks), dim3(grid.threads)};
}

} // namespace

cudaError_t gated_activation(const gated_activation_args& args, cudaStream_t stream) noexcept {
  if (args.rows == 0) {
    return cudaSuccess;
  }
  const bool is_aligned = is_vector_aligned(args.gate_up, args.x_stride)
                          && is_vector_aligned(args.gate_up, args.width) // the second half
                          && is_vector_aligned(args.y, args.y_stride);
  with_type(args.gate_up.type, [&](auto x) {
    return with_type(args.y.type, [&](auto y) {
      using X = decltype(x);
      using Y = decltype(y);
      return launch(gate_rows<X, Y>,
                    shape_for(args.rows, args.width, chunk_of<X, Y>),
                    stream,
                    args,
                    is_aligned);
    });
  });
  return cudaPeekAtLastError();
}

cudaError_t activation(const activation_args& args, cudaStream_t stream) noexcept {
  if (args.rows == 0) {
    return cudaSuccess;
  }
  const bool is_aligned = is_vector_aligned(args.x, args.x_stride);
  with_type(args.x.type, [&](auto x) {
    using X = decltype(x);
    return launch(
        activate_rows<X>, shape_for(args.rows, args.width, chunk_of<X>), stream, args, is_aligned);
  });
  return cudaPeekAtLastError();
}

cudaError_t add_residual(const add_residual_args& args, cudaStream_t stream) noexcept {
  if (args.rows == 0) {
    return cudaSuccess;
  }
  const bool is_aligned = is_vector_aligned(args.hidden, args.hidden_stride)
                          && is_vector_aligned(args.delta, args.delta_stride)
                          && is_vector_aligned(args.bias, 0, dtype::float32);
  with_type(args.hidden.type, [&](auto hidden) {
    return with_type(args.delta.type, [&](auto delta) {
      using H = decltype(hidden);
      using D = decltype(delta);
      return launch(add_rows<H, D>,
                    shape_for(args.rows, args.width, chunk_of<H, D>),
                    stream,
                    args,
                    is_aligned);
    });
  });
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
