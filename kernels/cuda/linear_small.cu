// kernels/cuda/linear_small.cu — linears of up to 16 tokens. Time is that of reading the weights once, so everything here
// serves one end: enough bytes of weights under way, always.
//
// Algorithm. y = x weightᵀ on tensor cores with the roles swapped: 16 weight rows are the M side of mma.m16n8k16, the
//   tokens its N side (one or two tiles of 8). A block owns tiles of 16 * RowTiles weight rows; its warps split the
//   reduction: in step s warp w takes elements [64 (s Warps + w), + 64), so that a step of the block reads whole
//   consecutive lines of each row. Weights and x arrive through a ring of Stages buffers in shared memory that belongs to
//   the warp alone, filled by cp.async: the loop has no barrier of the block, only __syncwarp. The ring runs on across
//   the tiles of a block (tile += gridDim.x); while one tile is summed and stored the next one is being read. At the end
//   of a tile the warps' partial sums meet in shared memory and are added in the order of the warps: no atomics, the
//   same bits for the same call.
// Order of k within a step. The k-th element of an mma may be any element as long as both operands agree. Lane (g, t) of
//   a fragment takes the 8 consecutive elements 8 t … 8 t + 7 of its row with one 16-byte access and feeds them to two
//   mma as elements (2t, 2t+1, 2t+8, 2t+9) of each.
// Gate. Each tile of 16 rows is 8 gates and their 8 ups; both halves of an output meet in the same reduction.
// Before the kernel's predecessor has ended the ring is filled with weights already; x, bias and y wait.
// Grid: as many blocks as fit on the device at once, at most one per tile. Block: 32 * Warps threads.
// Bytes: 2 out in (weights) + 2 tokens in per 16 * RowTiles rows (x, from L2) + tokens out of y; flops: 2 tokens in out.
// Architectures: sm_80 and newer; early start from sm_90 on.
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace vdist::kernels::cuda {

namespace {

constexpr int tile_rows = 16;  // weight rows of one mma
constexpr int tile_tokens = 8; // tokens of one mma
constexpr int step_elements = 64;
constexpr int row_bytes = 2 * step_elements; // of one row in one stage
constexpr int partial_pitch =
    tile_rows + 4; // floats; 2 * 20 = 8 mod 32: lanes (g, t) write to 32 banks

struct problem {
  const void* weight;
  const void* x;
  const float* bias; // or nullptr
  void* y;
  std::int64_t x_stride;
  std::int64_t y_stride;
  std::int32_t tokens;
  std::int32_t in_features;
  std::int32_t outputs; // elements of a row of y: half of the weight's rows for `gate`
  std::int32_t tiles;   // of 16 * RowTiles weight rows
  dtype y_type;
  linear_epilogue epilogue;
  activation_kind kind;
};

/// Outputs of 16 weight rows.
__host__ __device__ constexpr int outputs_of_tile(linear_epilogue epilogue) {
  return epilogue == linear_epilogue::gate ? tile_rows / 2 : tile_rows;
}

// --- loads ----------------------------------------------------------------------------------------

/// Weights are read once: they should not push out of L2 what is read again.
__device__ __forceinline__ std::uint64_t read_once_policy() {
  std::uint64_t policy = 0;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// 16 bytes, or zeros instead.
__device__ __forceinline__ void
copy_weights(std::uint32_t to, const void* from, bool is_there, std::uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(to),
               "l"(from),
               "r"(is_there ? 16 : 0),
               "l"(policy)
               : "memory");
}

/// As above, but through L1: blocks on one multiprocessor read the same x at about the same time.
__device__ __forceinline__ void copy_x(std::uint32_t to, const void* from, bool is_there) {
  asm volatile(
      "cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0)
      : "memory");
}

__device__ __forceinline__ void end_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits for this thread's copies but those of the last `Pending` groups.
template <int Pending>
__device__ __forceinline__ void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Offset of a 16-byte part of a row in a stage. Odd rows swap their halves: eight lanes that read parts 0 to 3 (or 4 to
/// 7) of two neighbouring rows touch all 32 banks.
__device__ __forceinline__ int offset_of(int row, int part) {
  return row * row_bytes + ((part ^ ((row & 1) << 2)) << 4);
}

/// A warp copies 4 rows of 128 bytes at once: lane (sub, part) takes 16 bytes of row sub of each group of four.
template <class T, int RowTiles>
__device__ __forceinline__ void fetch_weights(
    const problem& p, std::uint32_t stage, int tile, int first_k, int lane, std::uint64_t policy) {
  const int part = lane % 8;
  const int sub = lane / 8;
  const int k = first_k + part * 8;
  const bool has_k = k < p.in_features;
  const int group = outputs_of_tile(p.epilogue);
  const int upper_row = group == tile_rows ? tile_rows / 2 : p.outputs; // from row r to row r + 8
  const int upper_output = group - tile_rows / 2;                       // the same for outputs
  const auto* weight = static_cast<const T*>(p.weight);
#pragma unroll
  for (int i = 0; i < 4 * RowTiles; ++i) {
    const int upper = (i >> 1) & 1;
    const int first = (tile * RowTiles + (i >> 2)) * group + (i & 1) * 4 + sub;
    const bool is_there = has_k && first + upper * upper_output < p.outputs;
    const std::int64_t row = first + upper * upper_row;
    copy_weights(stage + static_cast<std::uint32_t>(offset_of(i * 4 + sub, part)),
                 weight + (is_there ? row * p.in_features + k : 0),
                 is_there,
                 policy);
  }
}

/// Rows behind the weights of the stage. Rows of absent tokens are not written and not read.
template <class T, int TokenTiles>
__device__ __forceinline__ void
fetch_x(const problem& p, std::uint32_t rows, int first_k, int lane) {
  const int part = lane % 8;
  const int sub = lane / 8;
  const int k = first_k + part * 8;
  const bool has_k = k < p.in_features;
  const auto* x = static_cast<const T*>(p.x);
#pragma unroll
  for (int i = 0; i < 2 * TokenTiles; ++i) {
    const int token = i * 4 + sub;
    if (token < p.tokens) {
      copy_x(rows + static_cast<std::uint32_t>(offset_of(token, part)),
             x + (has_k ? token * p.x_stride + k : 0),
             has_k);
    }
  }
}

// --- products -------------------------------------------------------------------------------------

/// c += a b, 16 x 8 x 16. Lane (g, t) = (lane / 4, lane % 4) holds rows g and g + 8 of a, column g of b, and of c the rows
/// g (c[0], c[1]) and g + 8 (c[2], c[3]) in columns 2t and 2t + 1.
template <class T>
__device__ __forceinline__ void multiply(float (&c)[4],
                                         std::uint32_t a0,
                                         std::uint32_t a1,
                                         std::uint32_t a2,
                                         std::uint32_t a3,
                                         std::uint32_t b0,
                                         std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

template <class T, int RowTiles, int TokenTiles>
__device__ __forceinline__ void
consume(float (&sums)[RowTiles][TokenTiles][4], const unsigned char* stage, int tokens, int lane) {
  const int g = lane / 4;
  const int t = lane % 4;
  const auto read = [stage](int row, int part) {
    return *reinterpret_cast<const uint4*>(stage + offset_of(row, part));
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int part = half * 4 + t;
    uint4 x[TokenTiles];
#pragma unroll
    for (int n = 0; n < TokenTiles; ++n) {
      const int token = n * tile_tokens + g;
      x[n] = token < tokens ? read(RowTiles * tile_rows + token, part) : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int m = 0; m < RowTiles; ++m) {
      const uint4 low = read(m * tile_rows + g, part);
      const uint4 high = read(m * tile_rows + g + 8, part);
#pragma unroll
      for (int n = 0; n < TokenTiles; ++n) {
        multiply<T>(sums[m][n], low.x, high.x, low.y, high.y, x[n].x, x[n].y);
        multiply<T>(sums[m][n], low.z, high.z, low.w, high.w, x[n].z, x[n].w);
      }
    }
  }
}

// --- epilogue -------------------------------------------------------------------------------------

__device__ __forceinline__ float load_element(const void* from, std::int64_t at, dtype type) {
  switch (type) {
  case dtype::bfloat16:
    return to_float(static_cast<const __nv_bfloat16*>(from)[at]);
  case dtype::float16:
    return to_float(static_cast<const __half*>(from)[at]);
  case dtype::float32:
    break;
  }
  return static_cast<const float*>(from)[at];
}

__device__ __forceinline__ void store_element(void* to, std::int64_t at, dtype type, float value) {
  switch (type) {
  case dtype::bfloat16:
    static_cast<__nv_bfloat16*>(to)[at] = from_float<__nv_bfloat16>(value);
    return;
  case dtype::float16:
    static_cast<__half*>(to)[at] = from_float<__half>(value);
    return;
  case dtype::float32:
    break;
  }
  static_cast<float*>(to)[at] = value;
}

__device__ __forceinline__ float activate(activation_kind kind, float x) {
  switch (kind) {
  case activation_kind::silu:
    return x / (1.0F + expf(-x));
  case activation_kind::gelu_tanh:
    return 0.5F * x * (1.0F + tanhf(0.7978845608F * (x + 0.044715F * x * x * x)));
  case activation_kind::gelu_erf:
    return 0.5F * x * (1.0F + erff(x * 0.7071067812F));
  case activation_kind::relu:
    return x < 0.0F ? 0.0F : x; // keeps NaN
  }
  return x;
}

/// One output, and what joins its sums.
struct output_place {
  int token;
  int output;
  bool is_there;
};

template <int RowTiles>
__device__ __forceinline__ output_place place_of(const problem& p, int tile, int m, int element) {
  const int group = outputs_of_tile(p.epilogue);
  const int token = element / group;
  const int output = (tile * RowTiles + m) * group + element % group;
  return {token, output, token < p.tokens && output < p.outputs};
}

/// What is added to the sums: bias and old y, or the biases of gate and up. Loaded at the start of a tile, where the wait
/// costs nothing.
__device__ __forceinline__ float2 load_addends(const problem& p, const output_place& at) {
  float2 addends{0.0F, 0.0F};
  if (!at.is_there) {
    return addends;
  }
  if (p.bias != nullptr) {
    addends.x = p.bias[at.output];
    if (p.epilogue == linear_epilogue::gate) {
      addends.y = p.bias[p.outputs + at.output];
    }
  }
  if (p.epilogue == linear_epilogue::add) {
    addends.y = load_element(p.y, at.token * p.y_stride + at.output, p.y_type);
  }
  return addends;
}

/// Adds the warps' partial sums of one output and stores it. `partials`: [Warps][tokens][partial_pitch].
template <int Warps>
__device__ __forceinline__ void
finish(const problem& p, const float* partials, const output_place& at, int row, float2 addends) {
  const bool is_gate = p.epilogue == linear_epilogue::gate;
  const float* from = partials + at.token * partial_pitch + row;
  float sum = 0.0F;
  float upper = 0.0F;
#pragma unroll
  for (int warp = 0; warp < Warps; ++warp) {
    sum += from[warp * p.tokens * partial_pitch];
    if (is_gate) {
      upper += from[warp * p.tokens * partial_pitch + tile_rows / 2];
    }
  }
  const float value = is_gate ? activate(p.kind, sum + addends.x) * (upper + addends.y)
                              : addends.y + (sum + addends.x);
  store_element(p.y, at.token * p.y_stride + at.output, p.y_type, value);
}

// --- kernel ---------------------------------------------------------------------------------------

/// Dynamic shared memory: the rings, then two buffers of partial sums.
__host__ __device__ constexpr int stage_bytes(int row_tiles, int tokens) {
  return (row_tiles * tile_rows + tokens) * row_bytes;
}

__host__ __device__ constexpr int partial_floats(int warps, int tokens) {
  return warps * tokens * partial_pitch;
}

template <class T, int RowTiles, int TokenTiles, int Warps, int Stages>
__global__ void __launch_bounds__(Warps * 32) small_linear_kernel(const problem p) {
  constexpr int threads = Warps * 32;
  constexpr int places = (tile_rows * tile_tokens * TokenTiles + threads - 1) / threads;
  extern __shared__ __align__(128) unsigned char shared[];
  let_successor_start();

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int blocks = static_cast<int>(gridDim.x);
  const int steps = (p.in_features + Warps * step_elements - 1) / (Warps * step_elements);
  const int bytes = stage_bytes(RowTiles, p.tokens);
  const unsigned char* ring = shared + warp * Stages * bytes;
  const auto ring_address = static_cast<std::uint32_t>(__cvta_generic_to_shared(ring));
  auto* partials = reinterpret_cast<float*>(shared + Warps * Stages * bytes);
  const std::uint64_t policy = read_once_policy();
  const auto k_of = [warp](int step) {
    return (step * Warps + warp) * step_elements;
  };
  const auto weights_at = [ring_address, bytes](int slot) {
    return ring_address + static_cast<std::uint32_t>(slot * bytes);
  };
  const auto x_at = [weights_at](int slot) {
    return weights_at(slot) + RowTiles * tile_rows * row_bytes;
  };

  // The next step to be fetched: Stages - 1 ahead of the one that is multiplied.
  int ahead_tile = static_cast<int>(blockIdx.x);
  int ahead_step = 0;
  const auto advance = [&ahead_tile, &ahead_step, steps, blocks] {
    if (++ahead_step == steps) {
      ahead_step = 0;
      ahead_tile += blocks;
    }
  };
#pragma unroll 1
  for (int slot = 0; slot < Stages - 1; ++slot) {
    if (ahead_tile < p.tiles) {
      fetch_weights<T, RowTiles>(p, weights_at(slot), ahead_tile, k_of(ahead_step), lane, policy);
      advance();
    }
  }
  wait_for_predecessor();
#pragma unroll 1
  for (int slot = 0, step = 0; slot < Stages - 1; ++slot) {
    fetch_x<T, TokenTiles>(p, x_at(slot), k_of(step), lane);
    end_group(); // the first one holds all the weights above
    step = step + 1 == steps ? 0 : step + 1;
  }

  int slot = 0;
  int buffer = 0;
#pragma unroll 1
  for (int tile = static_cast<int>(blockIdx.x); tile < p.tiles; tile += blocks) {
    float2 addends[RowTiles][places];
    float sums[RowTiles][TokenTiles][4];
#pragma unroll
    for (int m = 0; m < RowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < places; ++i) {
        const int element = static_cast<int>(threadIdx.x) + i * threads;
        addends[m][i] = load_addends(p, place_of<RowTiles>(p, tile, m, element));
      }
#pragma unroll
      for (int n = 0; n < TokenTiles; ++n) {
        sums[m][n][0] = sums[m][n][1] = sums[m][n][2] = sums[m][n][3] = 0.0F;
      }
    }

#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      wait_for_groups<Stages - 2>();
      __syncwarp(); // every lane's part of this stage is there, and every lane has read the one before
      if (ahead_tile < p.tiles) {
        const int free_slot = slot == 0 ? Stages - 1 : slot - 1;
        const int k = k_of(ahead_step);
        fetch_weights<T, RowTiles>(p, weights_at(free_slot), ahead_tile, k, lane, policy);
        fetch_x<T, TokenTiles>(p, x_at(free_slot), k, lane);
        advance();
      }
      end_group(); // an empty one at the end keeps the count
      consume<T, RowTiles, TokenTiles>(sums, ring + slot * bytes, p.tokens, lane);
      slot = slot + 1 == Stages ? 0 : slot + 1;
    }

    // One barrier per 16 rows: who writes a buffer again has passed the barrier behind the other one's reading.
#pragma unroll
    for (int m = 0; m < RowTiles; ++m) {
      float* const all = partials + buffer * partial_floats(Warps, p.tokens);
      float* const mine = all + warp * p.tokens * partial_pitch + lane / 4;
#pragma unroll
      for (int n = 0; n < TokenTiles; ++n) {
#pragma unroll
        for (int column = 0; column < 2; ++column) {
          const int token = n * tile_tokens + lane % 4 * 2 + column;
          if (token < p.tokens) {
            mine[token * partial_pitch] = sums[m][n][column];
            mine[token * partial_pitch + 8] = sums[m][n][column + 2];
          }
        }
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < places; ++i) {
        const int element = static_cast<int>(threadIdx.x) + i * threads;
        const output_place at = place_of<RowTiles>(p, tile, m, element);
        if (at.is_there) {
          finish<Warps>(p, all, at, element % outputs_of_tile(p.epilogue), addends[m][i]);
        }
      }
      buffer ^= 1;
    }
  }
  wait_for_groups<0>(); // x of stages that had no weights: a copy must not outlive its block
}

// --- choice ---------------------------------------------------------------------------------------

/// One of the instantiations below, and its launch.
struct config {
  int row_tiles;   // 1 or 2
  int token_tiles; // 1 or 2
  int warps;       // 8 for one tile of rows and of tokens, else 4
  int stages;      // 4 or 8
  int tiles;
  int grid;
  int shared_bytes;
};

config
config_of(int row_tiles, int stages, int tokens, int tiles_of_16, const device_limits& device) {
  config c{};
  c.row_tiles = row_tiles;
  c.token_tiles = tokens > tile_tokens ? 2 : 1;
  c.warps = c.row_tiles == 1 && c.token_tiles == 1 ? 8 : 4;
  c.stages = stages;
  c.tiles = (tiles_of_16 + row_tiles - 1) / row_tiles;
  c.shared_bytes = c.warps * stages * stage_bytes(row_tiles, tokens)
                   + 2 * partial_floats(c.warps, tokens) * static_cast<int>(sizeof(float));
  constexpr int reserved = 1024; // of each block, by the system
  const int room = device.shared_bytes_max + reserved;
  const int resident = std::max(room / (c.shared_bytes + reserved), 1);
  c.grid = std::min(c.tiles, device.multiprocessors * resident);
  // Where fewer blocks per multiprocessor take all tiles, no multiprocessor may get more than those: blocks that start
  // while their predecessor still runs go wherever there is room, and the fullest one would set the time (measured: 36
  // instead of 27 us for 256 tiles of 14336 elements).
  const int needed = (c.tiles + device.multiprocessors - 1) / device.multiprocessors;
  if (needed < resident) {
    constexpr int granule = 128;
    c.shared_bytes = std::max(c.shared_bytes, room / (needed + 1) - reserved + granule);
  }
  return c;
}

/// Two tiles of rows per block halve the traffic of x, which counts from 5 tokens on; but no multiprocessor may be idle
/// for it. A block that has its multiprocessor for itself keeps twice as much under way.
config
choose_config(int tokens, int outputs, linear_epilogue epilogue, const device_limits& device) {
  const int group = outputs_of_tile(epilogue);
  const int tiles = (outputs + group - 1) / group;
  const int row_tiles = tokens > 4 && tiles * 5 >= device.multiprocessors * 9 ? 2 : 1;
  const int stages = (tiles + row_tiles - 1) / row_tiles <= device.multiprocessors ? 8 : 4;
  for (const config& c : {config_of(row_tiles, stages, tokens, tiles, device),
                          config_of(row_tiles, 4, tokens, tiles, device)}) {
    if (c.shared_bytes <= device.shared_bytes_max) {
      return c;
    }
  }
  // Devices with less than 128 KiB: at most 86 KiB.
  return config_of(tokens > tile_tokens ? 1 : 2, 4, tokens, tiles, device);
}

template <class T, int RowTiles, int TokenTiles, int Warps, int Stages>
cudaError_t start(const problem& p,
                  const config& c,
                  const device_limits& device,
                  cudaStream_t stream) noexcept {
  constexpr auto* kernel = small_linear_kernel<T, RowTiles, TokenTiles, Warps, Stages>;
  if (const auto status = cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, device.shared_bytes_max);
      status != cudaSuccess) {
    return status;
  }
  if (const auto status = cudaFuncSetAttribute(
          kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
      status != cudaSuccess) {
    return status;
  }
  (void)launch(kernel,
               {.grid = dim3(static_cast<unsigned>(c.grid)),
                .block = dim3(Warps * 32),
                .shared_bytes = static_cast<std::size_t>(c.shared_bytes)},
               stream,
               p);
  return cudaPeekAtLastError();
}

template <class T, int RowTiles, int TokenTiles, int Warps>
cudaError_t start_with_stages(const problem& p,
                              const config& c,
                              const device_limits& device,
                              cudaStream_t stream) noexcept {
  return c.stages == 8 ? start<T, RowTiles, TokenTiles, Warps, 8>(p, c, device, stream)
                       : start<T, RowTiles, TokenTiles, Warps, 4>(p, c, device, stream);
}

template <class T>
cudaError_t start_with_tiles(const problem& p,
                             const config& c,
                             const device_limits& device,
                             cudaStream_t stream) noexcept {
  if (c.token_tiles == 1) {
    return c.row_tiles == 1 ? start_with_stages<T, 1, 1, 8>(p, c, device, stream)
                            : start_with_stages<T, 2, 1, 4>(p, c, device, stream);
  }
  return c.row_tiles == 1 ? start_with_stages<T, 1, 2, 4>(p, c, device, stream)
                          : start_with_stages<T, 2, 2, 4>(p, c, device, stream);
}

bool is_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0;
}

} // namespace

bool fits_small_linear(const linear_args& args) noexcept {
  return args.tokens <= small_linear_tokens_max && args.weight_dtype != dtype::float32
         && args.x.type == args.weight_dtype && args.in_features > 0 && args.in_features % 8 == 0
         && args.x_stride % 8 == 0 && is_aligned(args.weight) && is_aligned(args.x.data);
}

cudaError_t small_linear(const small_linear_args& args,
                         const device_limits& device,
                         cudaStream_t stream) noexcept {
  const linear_args& a = args.linear;
  const int outputs = args.epilogue == linear_epilogue::gate ? a.out_features / 2 : a.out_features;
  if (a.tokens <= 0 || outputs <= 0) {
    return cudaSuccess;
  }
  const config c = choose_config(a.tokens, outputs, args.epilogue, device);
  const problem p{.weight = a.weight,
                  .x = a.x.data,
                  .bias = a.bias,
                  .y = a.y.data,
                  .x_stride = a.x_stride,
                  .y_stride = a.y_stride,
                  .tokens = a.tokens,
                  .in_features = a.in_features,
                  .outputs = outputs,
                  .tiles = c.tiles,
                  .y_type = a.y.type,
                  .epilogue = args.epilogue,
                  .kind = args.kind};
  return a.weight_dtype == dtype::float16 ? start_with_tiles<__half>(p, c, device, stream)
                                          : start_with_tiles<__nv_bfloat16>(p, c, device, stream);
}

} // namespace vdist::kernels::cuda
