// kernels/cuda/attention_decode.cu — one query per sequence against its whole cache: bound by reading K and V once.
//
// Heads that share a key head (up to 16) are the 16 rows of mma.m16n8k16, so each K and V element is read once for all of
// them. An item is one such set of heads of one sequence; it is cut into rounds of 64 keys. All rounds of all items lie in
// one line, and block b of G takes the b-th of G equal pieces of it, whatever sequences these belong to: every
// multiprocessor reads the same number of bytes for any mix of lengths, for one sequence and for hundreds. The lengths are
// read on the device, hence a captured launch serves any of them.
//
// Each of the 4 warps takes 16 keys of a round, with a ring of its own in shared memory that cp.async fills through the
// block table; no barrier but at the end of an item, where the warps' sums are merged in fixed order. An item that lies in
// one block is written to `out`; of one that a boundary cuts, each block leaves a partial sum, and combine_kernel adds
// them in the order of the keys. A block cuts at most two items: slot 0 is the one that its piece begins with, slot 1 any
// other. Blocks of combine_kernel belong to the boundaries; the first boundary inside of an item combines it.
//
// Grid: decode min(multiprocessors * 2, rounds) x 128 threads, 96 KiB (head_dim 256: one per multiprocessor, 192 KiB);
// combine (G - 1) * min(group, 16) x 256 threads. Bytes: 4 * keys * kv_heads * head_dim per sequence; partial sums at most
// G * 2 * 16 * (head_dim + 2) * 4 (4.4 MB). Flops: 4 * keys * heads * head_dim. Architectures: sm_80 and newer.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_decode.cuh"
#include "kernels/cuda/dependent.cuh"

#include <algorithm>

namespace vdist::kernels::cuda {

namespace {

inline constexpr int decode_warps = 4;
inline constexpr int decode_threads = decode_warps * 32;
inline constexpr int tile_keys = 16; // of a warp at a time
inline constexpr int round_keys = decode_warps * tile_keys;
inline constexpr int rows_max = 16; // heads of an item
inline constexpr int combine_warps = 8;
inline constexpr int combine_threads = combine_warps * 32;
inline constexpr int slots_per_block = 2;

template <int head_dim>
struct decode_shape {
  static constexpr int tile_bytes = tile_keys * head_dim * 2; // K; V lies behind it
  static constexpr int stages = head_dim == 64 ? 6 : head_dim == 96 ? 4 : 3;
  static constexpr int warp_bytes = stages * 2 * tile_bytes;
  static constexpr int shared_bytes = decode_warps * warp_bytes;
  static constexpr int blocks_per_multiprocessor = head_dim <= 128 ? 2 : 1;
  // Sums of a warp at the end of an item, in the place of its ring. The padding spreads rows over the banks.
  static constexpr int sums_stride = head_dim + 8;
  static_assert(rows_max * sums_stride * 4 <= warp_bytes);
};

/// What a sequence has to do here.
struct decode_sequence {
  std::int32_t token;
  std::int32_t first_key;
  std::int32_t end_key; // behind the last
  std::int32_t rounds;  // of one item; 0: not ours
};

__device__ __forceinline__ decode_sequence sequence_of(const attention_args& args,
                                                       std::int32_t sequence) {
  const std::int32_t token = args.batch.query_start[sequence];
  const std::int32_t queries = args.batch.query_start[sequence + 1] - token;
  const std::int32_t position = args.batch.first_position[sequence];
  const std::int32_t first_key = first_key_of(position, args.window);
  const bool is_ours = queries == 1 && position >= 0;
  return {.token = token,
          .first_key = first_key,
          .end_key = position + 1,
          .rounds = is_ours ? (position + 1 - first_key + round_keys - 1) / round_keys : 0};
}

/// Piece b of `blocks` equal pieces of `total` rounds begins here. With blocks <= total no piece is empty.
__device__ __forceinline__ std::int32_t
piece_begin(std::int32_t block, std::int32_t blocks, std::int32_t total) {
  return static_cast<std::int32_t>(static_cast<std::int64_t>(block) * total / blocks);
}

/// The piece that holds round `unit`: the last that begins at or before it.
__device__ __forceinline__ std::int32_t
piece_of(std::int32_t unit, std::int32_t blocks, std::int32_t total) {
  return static_cast<std::int32_t>(((static_cast<std::int64_t>(unit) + 1) * blocks - 1) / total);
}

/// Partial sums: [slots][16][head_dim] floats, then [slots][16] pairs of the largest score and the sum of weights.
template <int head_dim>
struct partial_sums {
  float* out;
  float2* stats;

  __device__ partial_sums(float* workspace, std::int32_t blocks)
      : out(workspace),
        stats(reinterpret_cast<float2*>(workspace
                                        + static_cast<std::int64_t>(blocks) * slots_per_block
                                              * rows_max * head_dim)) {}

  [[nodiscard]] __device__ std::int64_t
  row(std::int32_t block, std::int32_t slot, std::int32_t r) const {
    return (static_cast<std::int64_t>(block) * slots_per_block + slot) * rows_max + r;
  }
};

/// Part of an item that one block does.
struct item_part {
  decode_sequence sequence;
  cache_rows rows;
  std::int32_t head;   // first of the item
  std::int32_t heads;  // 1 … 16
  std::int32_t round;  // first
  std::int32_t rounds; // how many
};

/// The queries of the item as A fragments; rows behind the last head are zeros.
template <class T, int head_dim>
__device__ __forceinline__ void load_queries(std::uint32_t (&to)[head_dim / 16][4],
                                             const attention_args& args,
                                             const item_part& part,
                                             int lane) {
  const T* from = static_cast<const T*>(args.q.data) + part.sequence.token * args.q_stride
                  + static_cast<std::int64_t>(part.head) * head_dim + 2 * (lane & 3);
  const int low = lane >> 2;
  const int high = low + 8;
#pragma unroll
  for (int k = 0; k < head_dim / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = i % 2 == 0 ? low : high;
      to[k][i] =
          row < part.heads
              ? *reinterpret_cast<const std::uint32_t*>(from + row * head_dim + k * 16 + i / 2 * 8)
              : 0U;
    }
  }
}

/// Starts the copies of 16 keys and their values. Lane i knows the cache row of key i % 16.
template <class T, int head_dim>
__device__ __forceinline__ void
load_tile(std::uint32_t tile, const attention_args& args, std::uint32_t row, int lane) {
  constexpr int chunks = head_dim / 8;
  const T* keys = static_cast<const T*>(args.kv.keys);
  const T* values = static_cast<const T*>(args.kv.values);
  constexpr int copies = tile_keys * chunks / 32;
  constexpr int copies_unrolled = head_dim <= 128 ? copies : 4; // registers are short beyond
#pragma unroll copies_unrolled
  for (int i = 0; i < copies; ++i) {
    const int key = (i * 32 + lane) / chunks;
    const int chunk = (i * 32 + lane) % chunks;
    const std::uint32_t from = __shfl_sync(all_lanes, row, key);
    const bool is_there = from != no_row;
    const std::int64_t element =
        is_there ? static_cast<std::int64_t>(from) * head_dim + chunk * 8 : 0;
    const std::uint32_t to = tile + chunk_offset<head_dim>(key, chunk);
    copy_16(to, keys + element, is_there);
    copy_16(to + decode_shape<head_dim>::tile_bytes, values + element, is_there);
  }
}

/// This warp's keys of the part: every fourth tile.
template <class T, int head_dim>
__device__ __forceinline__ void attend(softmax_rows<head_dim> (&sums)[1],
                                       const attention_args& args,
                                       const item_part& part,
                                       std::uint32_t ring,
                                       int lane,
                                       int warp) {
  using shape = decode_shape<head_dim>;
  constexpr int stages = shape::stages;
  constexpr int stage_bytes = 2 * shape::tile_bytes;
  const std::int32_t end = part.sequence.end_key;
  const std::int32_t first = part.sequence.first_key + part.round * round_keys + warp * tile_keys;
  const std::int32_t tiles = max(0, min(part.rounds, (end - first + round_keys - 1) / round_keys));
  const auto row_of = [&](std::int32_t tile) {
    const std::int32_t key = first + tile * round_keys + (lane & 15);
    return tile < tiles && key < end ? part.rows.at(key) : no_row;
  };

  std::uint32_t rows[stages - 1];
#pragma unroll
  for (int i = 0; i < stages - 1; ++i) {
    rows[i] = row_of(i);
  }
  std::uint32_t queries[head_dim / 16][4];
  load_queries<T, head_dim>(queries, args, part, lane);
#pragma unroll
  for (int i = 0; i < stages - 1; ++i) {
    if (i < tiles) {
      load_tile<T, head_dim>(ring + i * stage_bytes, args, rows[i], lane);
    }
    close_copies();
  }
  std::uint32_t next_row = row_of(stages - 1);

  const float to_base_2 = args.scale * log2_of_e;
  int stage = 0;               // of this tile
  int free_stage = stages - 1; // of the tile before, which everyone has read
  for (std::int32_t tile = 0; tile < tiles; ++tile) {
    wait_copies<stages - 2>();
    __syncwarp();
    if (tile + stages - 1 < tiles) {
      load_tile<T, head_dim>(ring + free_stage * stage_bytes, args, next_row, lane);
    }
    close_copies();
    next_row = row_of(tile + stages);

    const std::uint32_t keys = ring + stage * stage_bytes;
    const chunk_walk<head_dim> key_row = key_walk<head_dim>(keys, lane);
    float scores[2][4] = {};
#pragma unroll
    for (int k = 0; k < head_dim / 16; ++k) {
      std::uint32_t b[4];
      load_matrices(b, key_row.at(k));
      multiply_add<T>(scores[0], queries[k], b[0], b[1]);
      multiply_add<T>(scores[1], queries[k], b[2], b[3]);
    }
    const std::int32_t keys_left = end - (first + tile * round_keys) - 2 * (lane & 3);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool is_key = j * 8 + e % 2 < keys_left;
        scores[j][e] = is_key ? scores[j][e] * to_base_2 : minus_infinity();
      }
    }
    sums[0].weigh(scores);
    std::uint32_t weights[1][4];
    pack_weights<T>(weights[0], scores[0], scores[1]);
    add_values<T, head_dim>(sums, weights, keys + shape::tile_bytes, lane);
    free_stage = stage;
    stage = stage + 1 == stages ? 0 : stage + 1;
  }
  sums[0].finish();
}

/// The warp's sums go where its ring was.
template <int head_dim>
__device__ __forceinline__ void store_sums(float* to,
                                           float (&most)[rows_max],
                                           float (&sum)[rows_max],
                                           const softmax_rows<head_dim>& sums,
                                           std::int32_t heads,
                                           int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = (lane >> 2) + 8 * half;
    if (row >= heads) {
      continue;
    }
    float* row_to = to + row * decode_shape<head_dim>::sums_stride + 2 * (lane & 3);
#pragma unroll
    for (int d = 0; d < head_dim / 8; ++d) {
      *reinterpret_cast<float2*>(row_to + d * 8) =
          make_float2(sums.out[d][2 * half], sums.out[d][2 * half + 1]);
    }
    if ((lane & 3) == 0) {
      most[row] = sums.most[half];
      sum[row] = sums.sum[half];
    }
  }
}

/// Rows of padding belong to nobody: zeros, without a look at the cache.
template <class T, int head_dim>
__device__ __forceinline__ void clear_padding(const attention_args& args) {
  for (auto s = static_cast<std::int32_t>(blockIdx.x); s < args.batch.sequences;
       s += static_cast<std::int32_t>(gridDim.x)) {
    const std::int32_t token = args.batch.query_start[s];
    if (args.batch.first_position[s] >= 0 || args.batch.query_start[s + 1] - token != 1) {
      continue;
    }
    T* row = static_cast<T*>(args.out.data) + token * args.out_stride;
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < args.heads * head_dim / 2;
         i += decode_threads) {
      reinterpret_cast<std::uint32_t*>(row)[i] = 0U;
    }
  }
}

template <class T, int head_dim>
__global__ void __launch_bounds__(decode_threads, decode_shape<head_dim>::blocks_per_multiprocessor)
    decode_kernel(const __grid_constant__ attention_args args,
                  const std::int32_t tiles_per_kv_head,
                  float* const workspace) {
  using shape = decode_shape<head_dim>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ float most[decode_warps][rows_max];
  __shared__ float sum[decode_warps][rows_max];

  let_successor_start();
  wait_for_predecessor();

  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  const auto block = static_cast<std::int32_t>(blockIdx.x);
  const auto grid = static_cast<std::int32_t>(gridDim.x);
  const std::int32_t items = args.kv.kv_heads * tiles_per_kv_head; // of a sequence
  const std::int32_t group = args.heads / args.kv.kv_heads;
  const partial_sums<head_dim> partials(workspace, grid);

  const work_place place = find_work(
      args.batch.sequences,
      [&](std::int32_t s) { return sequence_of(args, s).rounds * items; },
      [&](std::int32_t total) {
        return block < total ? piece_begin(block, min(grid, total), total) : total;
      });
  clear_padding<T, head_dim>(args); // find_work() has brought what it reads into L1
  if (place.sequence < 0) {
    return;
  }
  const std::int32_t blocks = min(grid, place.total);
  const std::int32_t begin = piece_begin(block, blocks, place.total);
  const std::int32_t end = piece_begin(block + 1, blocks, place.total);

  std::int32_t sequence = place.sequence;
  std::int32_t before = place.before;
  item_part part{.sequence = sequence_of(args, sequence)};
  for (std::int32_t unit = begin; unit < end; unit += part.rounds) {
    while (unit == before + part.sequence.rounds * items) {
      before = unit;
      part.sequence = sequence_of(args, ++sequence);
    }
    const std::int32_t item = (unit - before) / part.sequence.rounds;
    const std::int32_t kv_head = item / tiles_per_kv_head;
    const std::int32_t first_row = (item - kv_head * tiles_per_kv_head) * rows_max;
    part.rows = rows_of(args, sequence, kv_head);
    part.head = kv_head * group + first_row;
    part.heads = min(rows_max, group - first_row);
    part.round = unit - before - item * part.sequence.rounds;
    part.rounds = min(part.sequence.rounds - part.round, end - unit);

    unsigned char* ring = shared + warp * shape::warp_bytes;
    {
      softmax_rows<head_dim> sums[1];
      attend<T, head_dim>(sums, args, part, shared_address(ring), lane, warp);
      __syncwarp();
      store_sums(reinterpret_cast<float*>(ring), most[warp], sum[warp], sums[0], part.heads, lane);
    }
    __syncthreads();

    const bool is_whole = part.rounds == part.sequence.rounds;
    const std::int32_t slot = unit == begin ? 0 : 1;
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < part.heads * (head_dim / 2);
         i += decode_threads) {
      const std::int32_t row = i / (head_dim / 2);
      const std::int32_t column = 2 * (i % (head_dim / 2));
      float top = most[0][row];
#pragma unroll
      for (int w = 1; w < decode_warps; ++w) {
        top = fmaxf(top, most[w][row]);
      }
      const float base = top == minus_infinity() ? 0.0F : top;
      float total = 0.0F;
      float2 out = make_float2(0.0F, 0.0F);
#pragma unroll
      for (int w = 0; w < decode_warps; ++w) {
        const float weight = power_of_two(most[w][row] - base);
        const float2 x = *reinterpret_cast<const float2*>(shared + w * shape::warp_bytes
                                                          + (row * shape::sums_stride + column)
                                                                * static_cast<int>(sizeof(float)));
        total += weight * sum[w][row];
        out.x += weight * x.x;
        out.y += weight * x.y;
      }
      if (is_whole) {
        T* to = static_cast<T*>(args.out.data) + part.sequence.token * args.out_stride
                + static_cast<std::int64_t>(part.head + row) * head_dim + column;
        *reinterpret_cast<std::uint32_t*>(to) = packed<T>(out.x / total, out.y / total);
      } else {
        const std::int64_t at = partials.row(block, slot, row);
        *reinterpret_cast<float2*>(partials.out + at * head_dim + column) = out;
        if (column == 0) {
          partials.stats[at] = make_float2(top, total);
        }
      }
    }
    __syncthreads(); // the rings are filled again
  }
}

/// Block (b, row) adds the partial sums of one head of the item that is cut by the boundary before piece b + 1, if no
/// earlier boundary cuts it.
template <class T, int head_dim>
__global__ void __launch_bounds__(combine_threads)
    combine_kernel(const __grid_constant__ attention_args args,
                   const std::int32_t tiles_per_kv_head,
                   const std::int32_t grid,
                   float* const workspace) {
  __shared__ float warp_tops[combine_warps];
  __shared__ float totals[combine_warps];
  __shared__ float sums[combine_warps][head_dim];

  let_successor_start();
  wait_for_predecessor();

  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  const std::int32_t lane = thread & 31;
  const std::int32_t warp = thread >> 5;
  const auto right = static_cast<std::int32_t>(blockIdx.x) + 1; // the piece behind the boundary
  const auto row = static_cast<std::int32_t>(blockIdx.y);
  const std::int32_t items = args.kv.kv_heads * tiles_per_kv_head;
  const std::int32_t group = args.heads / args.kv.kv_heads;

  const work_place place = find_work(
      args.batch.sequences,
      [&](std::int32_t s) { return sequence_of(args, s).rounds * items; },
      [&](std::int32_t total) {
        return right < total ? piece_begin(right, min(grid, total), total) : total;
      });
  if (place.sequence < 0 || right >= min(grid, place.total)) {
    return;
  }
  const std::int32_t blocks = min(grid, place.total);
  const decode_sequence sequence = sequence_of(args, place.sequence);
  const std::int32_t boundary = piece_begin(right, blocks, place.total);
  const std::int32_t item = (boundary - place.before) / sequence.rounds;
  const std::int32_t item_begin = place.before + item * sequence.rounds;
  const std::int32_t left_begin = piece_begin(right - 1, blocks, place.total);
  const std::int32_t kv_head = item / tiles_per_kv_head;
  const std::int32_t first_row = (item - kv_head * tiles_per_kv_head) * rows_max;
  if (item_begin == boundary || left_begin > item_begin || row >= group - first_row) {
    return;
  }

  // Pieces right - 1 … last hold the item, all but the first as what they begin with.
  const partial_sums<head_dim> partials(workspace, grid);
  const std::int32_t pieces =
      piece_of(item_begin + sequence.rounds - 1, blocks, place.total) - right + 2;
  const std::int32_t first_slot = left_begin == item_begin ? 0 : 1;
  const auto row_of = [&](std::int32_t piece) {
    return partials.row(right - 1 + piece, piece == 0 ? first_slot : 0, row);
  };

  float top = minus_infinity();
  for (std::int32_t p = thread; p < pieces; p += combine_threads) {
    top = fmaxf(top, partials.stats[row_of(p)].x);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    top = fmaxf(top, __shfl_xor_sync(all_lanes, top, distance));
  }
  if (lane == 0) {
    warp_tops[warp] = top;
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < combine_warps; ++w) {
    top = fmaxf(top, warp_tops[w]);
  }
  const float base = top == minus_infinity() ? 0.0F : top;

  float total = 0.0F;
  float out[head_dim / 32] = {};
#pragma unroll 4
  for (std::int32_t p = warp; p < pieces; p += combine_warps) {
    const std::int64_t at = row_of(p);
    const float2 stats = partials.stats[at];
    const float weight = power_of_two(stats.x - base);
    total += weight * stats.y;
#pragma unroll
    for (int i = 0; i < head_dim / 32; ++i) {
      out[i] += weight * partials.out[at * head_dim + i * 32 + lane];
    }
  }
#pragma unroll
  for (int i = 0; i < head_dim / 32; ++i) {
    sums[warp][i * 32 + lane] = out[i];
  }
  if (lane == 0) {
    totals[warp] = total;
  }
  __syncthreads();
  if (thread >= head_dim) {
    return;
  }
  total = 0.0F;
  float x = 0.0F;
#pragma unroll
  for (int w = 0; w < combine_warps; ++w) {
    total += totals[w];
    x += sums[w][thread];
  }
  T* to = static_cast<T*>(args.out.data) + sequence.token * args.out_stride
          + static_cast<std::int64_t>(kv_head * group + first_row + row) * head_dim;
  to[thread] = from_float<T>(x / total);
}

template <class T, int head_dim>
cudaError_t launch_decode(const attention_args& args,
                          float* workspace,
                          const device_limits& device,
                          cudaStream_t stream) {
  using shape = decode_shape<head_dim>;
  const std::int32_t group = args.heads / args.kv.kv_heads;
  const std::int32_t tiles_per_kv_head = (group + rows_max - 1) / rows_max;
  const std::int32_t keys =
      args.window > 0 ? std::min(args.window, args.max_position) : args.max_position;
  const std::int64_t rounds = std::max(1, (keys + round_keys - 1) / round_keys);
  const std::int64_t units = rounds * args.batch.sequences * args.kv.kv_heads * tiles_per_kv_head;
  const auto blocks = static_cast<std::int32_t>(std::min<std::int64_t>(
      units, std::int64_t{device.multiprocessors} * shape::blocks_per_multiprocessor));

  const auto kernel = decode_kernel<T, head_dim>;
  cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape::shared_bytes);
  if (error != cudaSuccess) {
    return error;
  }
  error = launch(kernel,
                 {.grid = dim3(static_cast<unsigned>(blocks)),
                  .block = dim3(decode_threads),
                  .shared_bytes = shape::shared_bytes},
                 stream,
                 args,
                 tiles_per_kv_head,
                 workspace);
  if (error != cudaSuccess || rounds == 1 || blocks == 1) {
    return error; // nothing is ever cut
  }
  return launch(combine_kernel<T, head_dim>,
                {.grid = dim3(static_cast<unsigned>(blocks - 1),
                              static_cast<unsigned>(std::min(group, rows_max))),
                 .block = dim3(combine_threads)},
                stream,
                args,
                tiles_per_kv_head,
                blocks,
                workspace);
}

template <class T>
cudaError_t launch_decode_of(const attention_args& args,
                             float* workspace,
                             const device_limits& device,
                             cudaStream_t stream) {
  switch (args.kv.head_dim) {
  case 64:
    return launch_decode<T, 64>(args, workspace, device, stream);
  case 96:
    return launch_decode<T, 96>(args, workspace, device, stream);
  case 128:
    return launch_decode<T, 128>(args, workspace, device, stream);
  case 256:
    return launch_decode<T, 256>(args, workspace, device, stream);
  default:
    return cudaErrorInvalidValue;
  }
}

} // namespace

std::size_t attention_decode_workspace_bytes(std::int32_t head_dim,
                                             const device_limits& device) noexcept {
  const auto blocks = static_cast<std::size_t>(device.multiprocessors) * 2;
  return blocks * slots_per_block * rows_max * (static_cast<std::size_t>(head_dim) + 2)
         * sizeof(float);
}

std::int32_t attention_decode_shared_bytes(std::int32_t head_dim) noexcept {
  return head_dim == 256 ? decode_shape<256>::shared_bytes : decode_shape<128>::shared_bytes;
}

cudaError_t attention_decode(const attention_args& args,
                             void* workspace,
                             const device_limits& device,
                             cudaStream_t stream) noexcept {
  auto* const floats = static_cast<float*>(workspace);
  return args.kv.type == dtype::float16
             ? launch_decode_of<__half>(args, floats, device, stream)
             : launch_decode_of<__nv_bfloat16>(args, floats, device, stream);
}

} // namespace vdist::kernels::cuda
