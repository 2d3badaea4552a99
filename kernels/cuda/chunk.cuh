// kernels/cuda/chunk.cuh — a few neighbouring elements of a row, as floats in registers: one vector access of up to 16
// bytes where the row allows it, element by element at its end and where it does not.
#pragma once

#include "kernels/cuda/element.cuh"

#include <cstdint>

namespace vdist::kernels::cuda {

/// Elements per chunk of an operation on rows of several types: the widest access is 16 bytes, and neighbouring lanes
/// touch neighbouring bytes in every access.
template <class... Types>
inline constexpr int chunk_of = ((sizeof(Types) == 4) || ...) ? 4 : 8;

template <class T, int N>
struct alignas(N * sizeof(T)) packed {
  T at[N];
};

/// Whether rows `stride` elements apart, the first at `rows`, all begin on a multiple of 16 bytes.
inline bool is_vector_aligned(const void* rows, std::int64_t stride, dtype type) noexcept {
  return reinterpret_cast<std::uintptr_t>(rows) % 16 == 0
         && stride * static_cast<std::int64_t>(size_of(type)) % 16 == 0;
}

inline bool is_vector_aligned(const_elements rows, std::int64_t stride) noexcept {
  return is_vector_aligned(rows.data, stride, rows.type);
}

/// row[first, first + N) for any first; every one of them exists and is aligned.
template <int N, class T>
__device__ __forceinline__ void load_whole(const T* from, float (&to)[N]) {
  constexpr int per = N * sizeof(T) > 16 ? per_vector<T> : N;
#pragma unroll
  for (int v = 0; v < N; v += per) {
    const auto vector = *reinterpret_cast<const packed<T, per>*>(from + v);
#pragma unroll
    for (int i = 0; i < per; ++i) {
      to[v + i] = to_float(vector.at[i]);
    }
  }
}

template <int N, class T>
__device__ __forceinline__ void store_whole(T* to, const float (&from)[N]) {
  constexpr int per = N * sizeof(T) > 16 ? per_vector<T> : N;
#pragma unroll
  for (int v = 0; v < N; v += per) {
    packed<T, per> vector;
#pragma unroll
    for (int i = 0; i < per; ++i) {
      vector.at[i] = from_float<T>(from[v + i]);
    }
    *reinterpret_cast<packed<T, per>*>(to + v) = vector;
  }
}

/// row[first, first + N); zeros from `width` on. `first` is a multiple of N.
template <int N, class T>
__device__ __forceinline__ void
load_chunk(const T* row, int first, int width, bool is_aligned, float (&to)[N]) {
  if (is_aligned && first + N <= width) {
    load_whole(row + first, to);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    to[i] = first + i < width ? to_float(row[first + i]) : 0.0F;
  }
}

/// row[first, first + N) below `width`, rounded.
template <int N, class T>
__device__ __forceinline__ void
store_chunk(T* row, int first, int width, bool is_aligned, const float (&from)[N]) {
  if (is_aligned && first + N <= width) {
    store_whole(row + first, from);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (first + i < width) {
      row[first + i] = from_float<T>(from[i]);
    }
  }
}

/// Shape of an operation on `rows` rows, one chunk of N elements per thread: x counts rows, y blocks along a row. Few
/// rows get small blocks, so that more multiprocessors share them.
struct row_grid {
  unsigned rows;
  unsigned blocks;
  unsigned threads;
};

inline row_grid choose_row_grid(std::int32_t rows, std::int32_t width, int per_thread) noexcept {
  const unsigned threads = rows < 64 ? 128 : 256;
  const auto chunks = (static_cast<unsigned>(width) + static_cast<unsigned>(per_thread) - 1)
                      / static_cast<unsigned>(per_thread);
  return {static_cast<unsigned>(rows), (chunks + threads - 1) / threads, threads};
}

/// The first element of this thread's chunk in such a grid.
template <int N>
__device__ __forceinline__ int first_of_chunk() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * N;
}

} // namespace vdist::kernels::cuda
