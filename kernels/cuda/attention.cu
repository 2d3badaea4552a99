// kernels/cuda/attention.cu — chooses who computes attention, and computes what the tensor cores do not take: float32,
// mixed types, odd head dimensions and alignments. Exact for any shape, not fast.
//
// any_kernel: a warp per token and head, and per 256 dimensions of the output. It walks the visible keys 32 at a time: each
// lane multiplies one key with the query, the warp weighs the 32 scores (online softmax in base 2, float32), then all lanes
// together add the 32 weighted values, each lane its own dimensions. Grid: (tokens, heads / 4, head_dim / 256) x 128
// threads, 16 * head_dim bytes of shared memory. Flops: 4 * head_dim per visible pair of query and key and head. Bytes: K
// and V of the visible keys once per token and head, from L2 mostly. Architectures: all.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_decode.cuh"
#include "kernels/cuda/attention_prefill.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"

namespace vdist::kernels::cuda {

namespace {

inline constexpr int any_warps = 4;
inline constexpr int any_threads = any_warps * 32;
inline constexpr int slice_dims = 256; // of the output per warp

__device__ __forceinline__ float load_element(const const_elements& from, std::int64_t at) {
  switch (from.type) {
  case dtype::bfloat16:
    return to_float(static_cast<const __nv_bfloat16*>(from.data)[at]);
  case dtype::float16:
    return to_float(static_cast<const __half*>(from.data)[at]);
  case dtype::float32:
    break;
  }
  return static_cast<const float*>(from.data)[at];
}

__device__ __forceinline__ void store_element(const elements& to, std::int64_t at, float x) {
  switch (to.type) {
  case dtype::bfloat16:
    static_cast<__nv_bfloat16*>(to.data)[at] = from_float<__nv_bfloat16>(x);
    return;
  case dtype::float16:
    static_cast<__half*>(to.data)[at] = from_float<__half>(x);
    return;
  case dtype::float32:
    break;
  }
  static_cast<float*>(to.data)[at] = x;
}

/// The sequence of a token: the last that starts at or before it.
__device__ __forceinline__ std::int32_t sequence_of(const sequence_batch& batch,
                                                    std::int32_t token) {
  std::int32_t low = 0;
  std::int32_t high = batch.sequences - 1;
  while (low < high) {
    const std::int32_t middle = (low + high + 1) / 2;
    if (batch.query_start[middle] <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <class T>
__global__ void __launch_bounds__(any_threads, 8)
    any_kernel(const __grid_constant__ attention_args args) {
  extern __shared__ float shared_queries[]; // [warps, head_dim]
  let_successor_start();
  wait_for_predecessor();

  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  const auto token = static_cast<std::int32_t>(blockIdx.x);
  const std::int32_t head = static_cast<std::int32_t>(blockIdx.y) * any_warps + warp;
  if (head >= args.heads) {
    return; // warps never meet
  }
  const std::int32_t head_dim = args.kv.head_dim;
  const auto first_dim = static_cast<std::int32_t>(blockIdx.z) * slice_dims;
  const std::int32_t dims = min(slice_dims, head_dim - first_dim);
  const std::int32_t sequence = sequence_of(args.batch, token);
  const std::int32_t chunk_position = args.batch.first_position[sequence];
  const std::int32_t position = chunk_position + token - args.batch.query_start[sequence];
  const std::int64_t out_at =
      token * args.out_stride + static_cast<std::int64_t>(head) * head_dim + first_dim;
  if (chunk_position < 0) { // padding
    for (std::int32_t d = lane; d < dims; d += 32) {
      store_element(args.out, out_at + d, 0.0F);
    }
    return;
  }

  float* query = shared_queries + warp * head_dim;
  const std::int64_t query_at = token * args.q_stride + static_cast<std::int64_t>(head) * head_dim;
  for (std::int32_t d = lane; d < head_dim; d += 32) {
    query[d] = load_element(args.q, query_at + d);
  }
  __syncwarp();

  const T* keys = static_cast<const T*>(args.kv.keys);
  const T* values = static_cast<const T*>(args.kv.values);
  const cache_rows cache = rows_of(args, sequence, head / (args.heads / args.kv.kv_heads));
  const float to_base_2 = args.scale * log2_of_e;
  float most = minus_infinity();
  float sum = 0.0F;
  float out[slice_dims / 32] = {};
  for (std::int32_t first = first_key_of(position, args.window); first <= position; first += 32) {
    const std::int32_t here = min(32, position - first + 1);
    const std::uint32_t row = lane < here ? cache.at(first + lane) : no_row;
    float score = minus_infinity();
    if (lane < here) {
      const T* key = keys + static_cast<std::int64_t>(row) * head_dim;
      float dot = 0.0F;
      for (std::int32_t d = 0; d < head_dim; ++d) {
        dot = fmaf(query[d], to_float(key[d]), dot);
      }
      score = dot * to_base_2;
    }
    float top = fmaxf(most, score);
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      top = fmaxf(top, __shfl_xor_sync(all_lanes, top, distance));
    }
    const float base = top == minus_infinity() ? 0.0F : top;
    const float kept = exp2f(most - base);
    const float weight = exp2f(score - base);
    most = top;
    sum = sum * kept + weight; // of this lane's keys
#pragma unroll
    for (int i = 0; i < slice_dims / 32; ++i) {
      out[i] *= kept;
    }
    for (int j = 0; j < here; ++j) {
      const float key_weight = __shfl_sync(all_lanes, weight, j);
      const std::uint32_t key_row = __shfl_sync(all_lanes, row, j);
      const T* value = values + static_cast<std::int64_t>(key_row) * head_dim + first_dim;
#pragma unroll
      for (int i = 0; i < slice_dims / 32; ++i) {
        if (i * 32 + lane < dims) {
          out[i] = fmaf(key_weight, to_float(value[i * 32 + lane]), out[i]);
        }
      }
    }
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(all_lanes, sum, distance);
  }
#pragma unroll
  for (int i = 0; i < slice_dims / 32; ++i) {
    if (i * 32 + lane < dims) {
      store_element(args.out, out_at + i * 32 + lane, out[i] / sum);
    }
  }
}

cudaError_t any_attention(const attention_args& args, cudaStream_t stream) {
  const launch_shape shape{
      .grid = dim3(static_cast<unsigned>(args.batch.tokens),
                   static_cast<unsigned>((args.heads + any_warps - 1) / any_warps),
                   static_cast<unsigned>((args.kv.head_dim + slice_dims - 1) / slice_dims)),
      .block = dim3(any_threads),
      .shared_bytes = static_cast<std::size_t>(args.kv.head_dim) * any_warps * sizeof(float)};
  return with_type(args.kv.type,
                   [&](auto t) { return launch(any_kernel<decltype(t)>, shape, stream, args); });
}

bool is_aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

bool fits_tensor_cores(const attention_args& args, const device_limits& device) {
  const std::int32_t dim = args.kv.head_dim;
  const bool is_known_dim = dim == 64 || dim == 96 || dim == 128 || dim == 256;
  constexpr std::int32_t static_bytes = 2048; // beside the dynamic shared memory, at most
  return is_known_dim && args.kv.type != dtype::float32 && args.q.type == args.kv.type
         && args.out.type == args.kv.type && args.heads / args.kv.kv_heads <= prefill_group_max
         && attention_decode_shared_bytes(dim) + static_bytes <= device.shared_bytes_max
         && attention_prefill_shared_bytes(dim) + static_bytes <= device.shared_bytes_max
         && is_aligned(args.q.data, 16) && args.q_stride % 8 == 0 && is_aligned(args.kv.keys, 16)
         && is_aligned(args.kv.values, 16) && is_aligned(args.out.data, 4)
         && args.out_stride % 2 == 0;
}

} // namespace

std::size_t attention_workspace_bytes(std::int32_t tokens_max,
                                      std::int32_t heads,
                                      std::int32_t head_dim,
                                      const device_limits& device) noexcept {
  return tokens_max > 0 && heads > 0 ? attention_decode_workspace_bytes(head_dim, device) : 0;
}

cudaError_t attention(const attention_args& args,
                      void* workspace,
                      const device_limits& device,
                      cudaStream_t stream) noexcept {
  const sequence_batch& batch = args.batch;
  if (batch.tokens == 0 || args.heads == 0) {
    return cudaSuccess;
  }
  cudaError_t error = cudaSuccess;
  if (!fits_tensor_cores(args, device)) {
    error = any_attention(args, stream);
  } else {
    // Who has one query and who has more is known on the device only; here, whether all have one, or none.
    const bool all_single =
        batch.longest_query == 1 || (batch.longest_query == 0 && batch.tokens == batch.sequences);
    const bool none_single = batch.sequences == 1 && batch.tokens > 1;
    if (!none_single) {
      error = attention_decode(args, workspace, device, stream);
    }
    if (error == cudaSuccess && !all_single) {
      error = attention_prefill(args, stream);
    }
  }
  return error != cudaSuccess ? error : cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
