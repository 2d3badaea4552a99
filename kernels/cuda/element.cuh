// kernels/cuda/element.cuh — element types on the device: from dtype to type, conversions, vectors of 16 bytes.
#pragma once

#include "kernels/dtype.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace vdist::kernels::cuda {

__device__ __forceinline__ float to_float(float x) {
  return x;
}

__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}

/// Rounds to nearest even.
template <class T>
__device__ __forceinline__ T from_float(float x);

template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}

template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

/// Elements that one access of 16 bytes moves.
template <class T>
inline constexpr int per_vector = 16 / static_cast<int>(sizeof(T));

template <class T>
struct alignas(16) vector_of {
  T at[per_vector<T>];
};

/// Calls f(T{}) with the type that `type` names.
template <class F>
auto with_type(dtype type, const F& f) {
  switch (type) {
  case dtype::bfloat16:
    return f(__nv_bfloat16{});
  case dtype::float16:
    return f(__half{});
  case dtype::float32:
    break;
  }
  return f(float{});
}

} // namespace vdist::kernels::cuda
