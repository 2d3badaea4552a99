// kernels/cuda/attention_prefill.cu — sequences with several queries: prompts, chunks of prompts, drafted tokens. Bound by
// the tensor cores.
//
// FlashAttention-2 over the block table. A block owns 128 rows: 128 / group neighbouring queries times the `group` heads
// that share a key head, so a short chunk fills the rows too, and a diagonal tile is short. It walks the keys that its
// queries see in tiles of 64, from the first to the last, with two stages of K and V in shared memory: cp.async gathers
// the next tile, 16 bytes at a time, while this one is multiplied; the cache rows of the tile after that are looked up
// meanwhile. Scores, the online softmax in base 2 and the sums stay in registers as float32; weights are rounded to 16 bits
// for the product with V. Only tiles that the diagonal or the edge of a window cuts are masked; tiles outside of a window
// are not visited, nor does a warp multiply tiles behind its own rows. Keys behind the last query of the block are neither
// looked up nor read: zeros stand for them.
//
// Grid: (tokens / queries of a block + sequences) * kv_heads, the last (longest) rows first; which sequence a block has is
// found on the device, and blocks without one leave. 4 warps of 32 rows (head_dim 256: 8 of 16), 96 KiB of shared memory at
// head_dim 128, two blocks per multiprocessor. Flops: 2 * head_dim * 2 per visible pair of query and key and head. Bytes:
// K and V once per block. Architectures: sm_80 and newer.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_prefill.cuh"
#include "kernels/cuda/dependent.cuh"

namespace vdist::kernels::cuda {

namespace {

inline constexpr int block_rows = 128;
inline constexpr int tile_keys = 64;
inline constexpr int key_steps = tile_keys / 16;

template <int head_dim>
struct prefill_shape {
  // A warp of 32 rows reads K and V from shared memory half as often as two of 16; the sums of 32 rows of 256 would not
  // fit into registers.
  static constexpr int warp_tiles = head_dim <= 128 ? 2 : 1; // of 16 rows
  static constexpr int warps = block_rows / 16 / warp_tiles;
  static constexpr int threads = warps * 32;
  static constexpr int blocks_per_multiprocessor = head_dim <= 128 ? 2 : 1;
  static constexpr int query_bytes = block_rows * head_dim * 2;
  static constexpr int tile_bytes = tile_keys * head_dim * 2; // of K; V lies behind it
  static constexpr int shared_bytes = query_bytes + 2 * 2 * tile_bytes;
};

/// What a block has to do.
struct query_tile {
  std::int32_t token;     // first
  std::int32_t position;  // of it
  std::int32_t queries;   // of this tile
  std::int32_t first_key; // that a query of the tile sees
  std::int32_t last_key;
  std::int32_t tiles; // of keys
};

/// Tiles of queries of one sequence; 0: not ours.
__device__ __forceinline__ std::int32_t
query_tiles_of(const attention_args& args, std::int32_t sequence, std::int32_t queries_per_tile) {
  const std::int32_t queries =
      args.batch.query_start[sequence + 1] - args.batch.query_start[sequence];
  return queries > 1 ? (queries + queries_per_tile - 1) / queries_per_tile : 0;
}

__device__ __forceinline__ query_tile tile_of(const attention_args& args,
                                              std::int32_t sequence,
                                              std::int32_t number,
                                              std::int32_t queries_per_tile) {
  const std::int32_t start = args.batch.query_start[sequence];
  const std::int32_t end = args.batch.query_start[sequence + 1];
  const std::int32_t token = start + number * queries_per_tile;
  const std::int32_t position = args.batch.first_position[sequence] + number * queries_per_tile;
  const std::int32_t queries = min(queries_per_tile, end - token);
  const std::int32_t first_key = first_key_of(position, args.window);
  const std::int32_t last_key = position + queries - 1;
  return {.token = token,
          .position = position,
          .queries = queries,
          .first_key = first_key,
          .last_key = last_key,
          .tiles = (last_key - first_key) / tile_keys + 1};
}

/// Starts the copies of the rows of the block's queries; rows of nobody are zeros.
template <class T, int head_dim>
__device__ __forceinline__ void load_queries(std::uint32_t to,
                                             const attention_args& args,
                                             const query_tile& tile,
                                             std::int32_t kv_head,
                                             std::int32_t group) {
  constexpr int chunks = head_dim / 8;
  constexpr int threads = prefill_shape<head_dim>::threads;
  const T* from = static_cast<const T*>(args.q.data) + tile.token * args.q_stride
                  + static_cast<std::int64_t>(kv_head) * group * head_dim;
  const std::int32_t rows = tile.queries * group;
#pragma unroll 2
  for (int i = 0; i < block_rows * chunks / threads; ++i) {
    const int at = i * threads + static_cast<int>(threadIdx.x);
    const int row = at / chunks;
    const int chunk = at % chunks;
    const bool is_there = row < rows;
    const std::int32_t query = is_there ? row / group : 0;
    const std::int32_t head = is_there ? row - query * group : 0;
    copy_16(to + chunk_offset<head_dim>(row, chunk),
            from + query * args.q_stride + head * head_dim + chunk * 8,
            is_there);
  }
}

/// Starts the copies of 64 keys and their values, whose cache rows are `rows`.
template <class T, int head_dim>
__device__ __forceinline__ void
load_keys(std::uint32_t to, const attention_args& args, const std::uint32_t (&rows)[tile_keys]) {
  constexpr int chunks = head_dim / 8;
  constexpr int threads = prefill_shape<head_dim>::threads;
  const T* keys = static_cast<const T*>(args.kv.keys);
  const T* values = static_cast<const T*>(args.kv.values);
  constexpr int unrolled = head_dim == 96 ? 2 : 4; // registers are short
#pragma unroll unrolled
  for (int i = 0; i < tile_keys * chunks / threads; ++i) {
    const int at = i * threads + static_cast<int>(threadIdx.x);
    const int key = at / chunks;
    const int chunk = at % chunks;
    const std::uint32_t row = rows[key];
    const bool is_there = row != no_row;
    const std::int64_t element =
        is_there ? static_cast<std::int64_t>(row) * head_dim + chunk * 8 : 0;
    const std::uint32_t place = to + chunk_offset<head_dim>(key, chunk);
    copy_16(place, keys + element, is_there);
    copy_16(place + prefill_shape<head_dim>::tile_bytes, values + element, is_there);
  }
}

/// scores = queries * keys, 16 rows of queries per tile, 64 keys.
template <class T, int head_dim, int warp_tiles>
__device__ __forceinline__ void multiply_keys(float (&scores)[warp_tiles][2 * key_steps][4],
                                              std::uint32_t queries,
                                              std::uint32_t keys,
                                              int lane) {
  constexpr std::uint32_t bytes_of_16_rows = 16 * head_dim * 2;
  const chunk_walk<head_dim> query_row(queries, lane & 15, lane >> 4);
  const chunk_walk<head_dim> key_row = key_walk<head_dim>(keys, lane);
  constexpr int steps_unrolled = head_dim == 96 ? 1 : head_dim / 16; // else registers are spilled
#pragma unroll steps_unrolled
  for (int k = 0; k < head_dim / 16; ++k) {
    std::uint32_t a[warp_tiles][4];
#pragma unroll
    for (int i = 0; i < warp_tiles; ++i) {
      load_matrices(a[i], query_row.at(k) + i * bytes_of_16_rows);
    }
#pragma unroll
    for (int j = 0; j < key_steps; ++j) {
      std::uint32_t b[4];
      load_matrices(b, key_row.at(k) + j * bytes_of_16_rows);
#pragma unroll
      for (int i = 0; i < warp_tiles; ++i) {
        multiply_add<T>(scores[i][2 * j], a[i], b[0], b[1]);
        multiply_add<T>(scores[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

template <class T, int head_dim>
__global__ void __launch_bounds__(prefill_shape<head_dim>::threads,
                                  prefill_shape<head_dim>::blocks_per_multiprocessor)
    prefill_kernel(const __grid_constant__ attention_args args,
                   const std::int32_t queries_per_tile) {
  using shape = prefill_shape<head_dim>;
  constexpr int warp_tiles = shape::warp_tiles;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ std::uint32_t rows[2][tile_keys]; // of the tiles to come
  __shared__ query_tile tile;                  // in shared memory, for registers are short
  __shared__ cache_rows cache;

  let_successor_start();
  wait_for_predecessor();

  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  const int lane = thread & 31;
  const int warp = thread >> 5;
  const std::int32_t kv_head = static_cast<std::int32_t>(blockIdx.x) % args.kv.kv_heads;
  const std::int32_t turn = static_cast<std::int32_t>(blockIdx.x) / args.kv.kv_heads;
  const std::int32_t group = args.heads / args.kv.kv_heads;
  const work_place place = find_work(
      args.batch.sequences,
      [&](std::int32_t s) { return query_tiles_of(args, s, queries_per_tile); },
      [&](std::int32_t total) { return total - 1 - turn; });
  if (place.sequence < 0) {
    return;
  }
  if (thread == 0) {
    tile = tile_of(args, place.sequence, place.total - 1 - turn - place.before, queries_per_tile);
    cache = rows_of(args, place.sequence, kv_head);
  }
  __syncthreads();
  const auto row_of = [&](std::int32_t n) {
    const std::int32_t key = tile.first_key + n * tile_keys + thread;
    return key <= tile.last_key ? cache.at(key) : no_row;
  };

  if (thread < tile_keys) {
    rows[0][thread] = row_of(0);
    rows[1][thread] = row_of(1);
  }
  const std::uint32_t queries = shared_address(shared);
  const std::uint32_t stages = queries + shape::query_bytes;
  load_queries<T, head_dim>(queries, args, tile, kv_head, group);
  __syncthreads();
  load_keys<T, head_dim>(stages, args, rows[0]);
  close_copies();

  // Rows of this warp: first, first + 1, …; row r is query r / group.
  const std::int32_t first_row = warp * warp_tiles * 16;
  const std::int32_t row_count = tile.queries * group;
  const std::int32_t warp_first = tile.position + first_row / group;
  const std::int32_t warp_last =
      first_row < row_count
          ? tile.position + (min(first_row + warp_tiles * 16, row_count) - 1) / group
          : -1; // sees nothing
  const std::uint32_t warp_queries = queries + static_cast<std::uint32_t>(first_row * head_dim * 2);
  const float to_base_2 = args.scale * log2_of_e;
  softmax_rows<head_dim> sums[warp_tiles];

  for (std::int32_t n = 0; n < tile.tiles; ++n) {
    wait_copies<0>();
    __syncthreads(); // tile n is there for everyone, and nobody reads tile n - 1 any more
    if (n + 1 < tile.tiles) {
      load_keys<T, head_dim>(
          stages + static_cast<std::uint32_t>((n + 1) & 1) * (2 * shape::tile_bytes),
          args,
          rows[(n + 1) & 1]);
    }
    close_copies();
    std::uint32_t next_row = no_row;
    if (thread < tile_keys) {
      next_row = row_of(n + 2);
    }

    const std::int32_t first_key = tile.first_key + n * tile_keys;
    if (first_key <= warp_last) {
      const std::uint32_t keys =
          stages + static_cast<std::uint32_t>(n & 1) * (2 * shape::tile_bytes);
      float scores[warp_tiles][2 * key_steps][4] = {};
      multiply_keys<T, head_dim>(scores, warp_queries, keys, lane);

      const bool is_cut = first_key + tile_keys - 1 > warp_first
                          || (args.window > 0 && first_key <= warp_last - args.window);
#pragma unroll
      for (int i = 0; i < warp_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < 2 * key_steps; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            scores[i][j][e] *= to_base_2;
          }
        }
        if (is_cut) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = first_row + i * 16 + (lane >> 2) + 8 * half;
            const std::int32_t position = tile.position + row / group;
            // Keys seen: those of numbers low … high of the tile, less this lane's first column.
            const std::int32_t from_here = first_key + 2 * (lane & 3);
            const std::int32_t high = position - from_here;
            const std::int32_t low = first_key_of(position, args.window) - from_here;
#pragma unroll
            for (int j = 0; j < 2 * key_steps; ++j) {
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                const bool is_seen = j * 8 + e <= high && j * 8 + e >= low;
                scores[i][j][2 * half + e] =
                    is_seen ? scores[i][j][2 * half + e] : minus_infinity();
              }
            }
          }
        }
        sums[i].weigh(scores[i]);
      }
#pragma unroll
      for (int j = 0; j < key_steps; ++j) {
        std::uint32_t weights[warp_tiles][4];
#pragma unroll
        for (int i = 0; i < warp_tiles; ++i) {
          pack_weights<T>(weights[i], scores[i][2 * j], scores[i][2 * j + 1]);
        }
        add_values<T, head_dim>(
            sums, weights, keys + shape::tile_bytes + j * 16 * head_dim * 2, lane);
      }
    }
    if (thread < tile_keys) {
      rows[n & 1][thread] = next_row; // last read before the barrier above
    }
  }

#pragma unroll
  for (int i = 0; i < warp_tiles; ++i) {
    sums[i].finish();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int32_t row = first_row + i * 16 + (lane >> 2) + 8 * half;
      if (row >= row_count) {
        continue;
      }
      const std::int32_t query = row / group;
      T* to = static_cast<T*>(args.out.data) + (tile.token + query) * args.out_stride
              + static_cast<std::int64_t>(kv_head * group + row - query * group) * head_dim
              + 2 * (lane & 3);
      const float share = 1.0F / sums[i].sum[half];
#pragma unroll
      for (int d = 0; d < head_dim / 8; ++d) {
        *reinterpret_cast<std::uint32_t*>(to + d * 8) =
            packed<T>(sums[i].out[d][2 * half] * share, sums[i].out[d][2 * half + 1] * share);
      }
    }
  }
}

template <class T, int head_dim>
cudaError_t launch_prefill(const attention_args& args, cudaStream_t stream) {
  using shape = prefill_shape<head_dim>;
  const std::int32_t queries_per_tile = block_rows / (args.heads / args.kv.kv_heads);
  const std::int64_t tiles =
      std::int64_t{args.batch.tokens / queries_per_tile} + args.batch.sequences;
  const auto kernel = prefill_kernel<T, head_dim>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape::shared_bytes);
  if (error != cudaSuccess) {
    return error;
  }
  return launch(kernel,
                {.grid = dim3(static_cast<unsigned>(tiles * args.kv.kv_heads)),
                 .block = dim3(shape::threads),
                 .shared_bytes = shape::shared_bytes},
                stream,
                args,
                queries_per_tile);
}

template <class T>
cudaError_t launch_prefill_of(const attention_args& args, cudaStream_t stream) {
  switch (args.kv.head_dim) {
  case 64:
    return launch_prefill<T, 64>(args, stream);
  case 96:
    return launch_prefill<T, 96>(args, stream);
  case 128:
    return launch_prefill<T, 128>(args, stream);
  case 256:
    return launch_prefill<T, 256>(args, stream);
  default:
    return cudaErrorInvalidValue;
  }
}

} // namespace

std::int32_t attention_prefill_shared_bytes(std::int32_t head_dim) noexcept {
  return head_dim == 256 ? prefill_shape<256>::shared_bytes : prefill_shape<128>::shared_bytes;
}

cudaError_t attention_prefill(const attention_args& args, cudaStream_t stream) noexcept {
  return args.kv.type == dtype::float16 ? launch_prefill_of<__half>(args, stream)
                                        : launch_prefill_of<__nv_bfloat16>(args, stream);
}

} // namespace vdist::kernels::cuda
