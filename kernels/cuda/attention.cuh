// kernels/cuda/attention.cuh — what the attention kernels share: tensor-core steps, tiles in shared memory, rows of the
// paged cache, the online softmax of 16 rows in registers, and how a block finds its work.
//
// Fragments (PTX, mma.m16n8k16), lane = 4 g + c: a row-major A holds rows g and g + 8, columns 2c, 2c+1, 2c+8, 2c+9; B
// holds k = 2c, 2c+1, 2c+8, 2c+9 of column g; the sums hold [0], [1] = row g, columns 2c, 2c+1 and [2], [3] = row g + 8.
// So the sums of a scores tile, packed in pairs, are the A of the product with V without moving between lanes.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/cuda/element.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace vdist::kernels::cuda {

inline constexpr float log2_of_e = 1.4426950408889634F;
inline constexpr unsigned all_lanes = 0xffffffffU;

__device__ __forceinline__ float minus_infinity() {
  return __int_as_float(static_cast<int>(0xff800000U));
}

// ---- Instructions.

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Starts a copy of 16 bytes from global to shared memory; writes zeros and reads nothing unless `is_there`.
__device__ __forceinline__ void copy_16(std::uint32_t to, const void* from, bool is_there) {
  const int bytes = is_there ? 16 : 0;
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
      : "memory");
}

/// Closes the group of the copies since the last call.
__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most `pending` groups of this thread are under way.
template <int pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// Four 8x8 matrices of 16-bit elements; lane i names row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

/// The same, each matrix transposed.
__device__ __forceinline__ void load_transposed(std::uint32_t (&to)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

/// sums += a b, 16x8 from 16x16 and 16x8.
template <class T>
__device__ __forceinline__ void
multiply_add(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// 2^x to 2 ulp; subnormal results are zero.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- Tiles.

/// Two numbers in the order of memory.
template <class T>
__device__ __forceinline__ std::uint32_t packed(float first, float second) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    return static_cast<std::uint32_t>(__half_as_ushort(pair.x))
           | static_cast<std::uint32_t>(__half_as_ushort(pair.y)) << 16;
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.x))
           | static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.y)) << 16;
  }
}

/// Byte of a chunk of 8 elements in a tile of rows of head_dim 16-bit elements. Chunks of a row are swapped such that the
/// same chunk of 8 neighbouring rows (from a multiple of 8) covers all 32 banks.
template <int head_dim>
__device__ __forceinline__ std::uint32_t chunk_offset(int row, int chunk) {
  static_assert(head_dim % 32 == 0);
  constexpr int chunks = head_dim / 8;
  // Rows of 64 n elements start in bank 0. Those of 32 (2 n + 1) start in bank 0 and 16 by turns: 4 pairs to tell apart.
  const int turn = head_dim % 64 == 0 ? row & 7 : (row >> 1) & 3;
  return static_cast<std::uint32_t>(row * chunks + (chunk ^ turn)) * 16U;
}

/// Walks a row of such a tile in steps of 16 elements, two chunks: which of the two is the lane's own matter. The tile is
/// 128-byte aligned. What differs between steps is known at compile time but for one exclusive or: few registers.
template <int head_dim>
struct chunk_walk {
  std::uint32_t start;

  /// `row` of `tile`, from chunk 0 or 1.
  __device__ __forceinline__ chunk_walk(std::uint32_t tile, int row, int chunk)
      : start(tile + chunk_offset<head_dim>(row, chunk)) {}

  __device__ __forceinline__ std::uint32_t at(int step) const {
    constexpr int turned = head_dim % 64 == 0 ? 4 : 2; // steps that the swapping reaches
    return (start ^ static_cast<std::uint32_t>(step % turned * 32))
           + static_cast<std::uint32_t>(step / turned * turned * 32);
  }
};

/// Rows of head_dim elements from the start of a layer's cache. 32 bits: 2^32 rows are at least 512 GiB.
inline constexpr std::uint32_t no_row = 0xffffffffU;

struct cache_rows {
  const std::int32_t* table; // blocks of the sequence
  std::uint32_t block_size;
  std::uint32_t kv_heads;
  std::uint32_t kv_head;

  __device__ __forceinline__ std::uint32_t at(std::int32_t position) const {
    const auto place = static_cast<std::uint32_t>(position);
    const std::uint32_t block = place / block_size;
    const auto id = static_cast<std::uint32_t>(table[block]);
    return (id * kv_heads + kv_head) * block_size + (place - block * block_size);
  }
};

__device__ __forceinline__ cache_rows rows_of(const attention_args& args,
                                              std::int32_t sequence,
                                              std::int32_t kv_head) {
  const sequence_batch& batch = args.batch;
  const std::int32_t row = batch.table_rows != nullptr ? batch.table_rows[sequence] : sequence;
  return {.table = batch.block_tables + static_cast<std::int64_t>(row) * batch.block_table_stride,
          .block_size = static_cast<std::uint32_t>(args.kv.block_size),
          .kv_heads = static_cast<std::uint32_t>(args.kv.kv_heads),
          .kv_head = static_cast<std::uint32_t>(kv_head)};
}

/// First key that the query at `position` sees.
__device__ __forceinline__ std::int32_t first_key_of(std::int32_t position, std::int32_t window) {
  return window > 0 ? max(0, position + 1 - window) : 0;
}

/// Attention of 16 query rows so far, spread over a warp as the sums of mma are: rows g and g + 8 of each lane.
template <int head_dim>
struct softmax_rows {
  float out[head_dim / 8][4] = {};                      // relative to 2^most
  float most[2] = {minus_infinity(), minus_infinity()}; // the same in the 4 lanes of a row
  float sum[2] = {};                                    // of this lane's columns

  /// Scores in base 2, -inf where masked, become weights relative to the largest score so far; `out` and `sum` follow.
  template <int tiles>
  __device__ __forceinline__ void weigh(float (&scores)[tiles][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = most[half];
#pragma unroll
      for (int j = 0; j < tiles; ++j) {
        top = fmaxf(top, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      }
      top = fmaxf(top, __shfl_xor_sync(all_lanes, top, 1));
      top = fmaxf(top, __shfl_xor_sync(all_lanes, top, 2));
      // A row that has seen no key yet: its weights are 2^(-inf - 0) = 0.
      const float base = top == minus_infinity() ? 0.0F : top;
      const float kept = power_of_two(most[half] - base);
      most[half] = top;
      float total = 0.0F;
#pragma unroll
      for (int j = 0; j < tiles; ++j) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          scores[j][e] = power_of_two(scores[j][e] - base);
          total += scores[j][e];
        }
      }
      sum[half] = sum[half] * kept + total;
#pragma unroll
      for (int d = 0; d < head_dim / 8; ++d) {
        out[d][2 * half] *= kept;
        out[d][2 * half + 1] *= kept;
      }
    }
  }

  /// Completes `sum`. Once, at the end.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] += __shfl_xor_sync(all_lanes, sum[half], 1);
      sum[half] += __shfl_xor_sync(all_lanes, sum[half], 2);
    }
  }
};

/// The weights of 16 keys (two tiles of scores) as an A fragment.
template <class T>
__device__ __forceinline__ void
pack_weights(std::uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
  a[0] = packed<T>(low[0], low[1]);
  a[1] = packed<T>(low[2], low[3]);
  a[2] = packed<T>(high[0], high[1]);
  a[3] = packed<T>(high[2], high[3]);
}

/// out += weights * values for the 16 keys whose rows lie at `values` in shared memory.
template <class T, int head_dim, int tiles>
__device__ __forceinline__ void add_values(softmax_rows<head_dim> (&rows)[tiles],
                                           const std::uint32_t (&weights)[tiles][4],
                                           std::uint32_t values,
                                           int lane) {
  const chunk_walk<head_dim> row(values, lane & 15, lane >> 4);
#pragma unroll
  for (int d = 0; d < head_dim / 16; ++d) {
    std::uint32_t b[4]; // keys 0-7 and 8-15 of 8 dimensions, then of the next 8
    load_transposed(b, row.at(d));
#pragma unroll
    for (int i = 0; i < tiles; ++i) {
      multiply_add<T>(rows[i].out[2 * d], weights[i], b[0], b[1]);
      multiply_add<T>(rows[i].out[2 * d + 1], weights[i], b[2], b[3]);
    }
  }
}

/// The lane's row of 16 keys at `keys` as B fragments of K transposed: load_matrices() gives keys 0-7 in [0], [1] and keys
/// 8-15 in [2], [3].
template <int head_dim>
__device__ __forceinline__ chunk_walk<head_dim> key_walk(std::uint32_t keys, int lane) {
  return {keys, (lane >> 4) * 8 + (lane & 7), (lane >> 3) & 1};
}

// ---- Who does what.

/// The sequence that holds a unit of work.
struct work_place {
  std::int32_t sequence; // -1: there is no such unit
  std::int32_t before;   // units of the sequences before it
  std::int32_t total;    // units of all sequences
};

/// Units are numbered through the sequences of the batch, weight(s) of them in sequence s. Finds unit wanted(total).
/// All threads of the block call it once, and get the same answer. Cost: reads the batch once, two barriers.
template <class Weight, class Wanted>
__device__ __forceinline__ work_place find_work(std::int32_t sequences,
                                                const Weight& weight,
                                                const Wanted& wanted) {
  __shared__ std::int32_t warp_totals[32];
  __shared__ work_place found;
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  const auto threads = static_cast<std::int32_t>(blockDim.x);
  const std::int32_t lane = thread & 31;
  const std::int32_t warp = thread >> 5;
  const std::int32_t strip = (sequences + threads - 1) / threads;
  const std::int32_t first = min(thread * strip, sequences);
  const std::int32_t last = min(first + strip, sequences);
  std::int32_t own = 0;
  for (std::int32_t s = first; s < last; ++s) {
    own += weight(s);
  }
  std::int32_t up_to_here = own;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const std::int32_t below = __shfl_up_sync(all_lanes, up_to_here, distance);
    up_to_here += lane >= distance ? below : 0;
  }
  if (lane == 31) {
    warp_totals[warp] = up_to_here;
  }
  __syncthreads();
  std::int32_t before = up_to_here - own;
  std::int32_t total = 0;
  for (std::int32_t w = 0; w < threads / 32; ++w) {
    before += w < warp ? warp_totals[w] : 0;
    total += warp_totals[w];
  }
  const std::int32_t unit = wanted(total);
  if (unit < 0 || unit >= total) {
    return {.sequence = -1, .before = 0, .total = total};
  }
  if (unit >= before && unit < before + own) {
    std::int32_t s = first;
    for (std::int32_t here = weight(s); unit >= before + here; here = weight(s)) {
      before += here;
      ++s;
    }
    found = {.sequence = s, .before = before, .total = total};
  }
  __syncthreads();
  return found;
}

} // namespace vdist::kernels::cuda
