// kernels/cuda/all_reduce.cu — collectives over exchange memory of peers: kernels/collective/lane_protocol.hpp on the
// device's instructions.
//
// Grid: at most 64 blocks (lanes; 16 for words) of up to 512 threads, so that a rank that waits leaves the device to others;
// one unit of 16 bytes per thread up to 512 KB, loops above. Bytes over the links per rank: words 2 (n-1) B, one_shot (n-1) B, two_shot
// 2 (n-1)/n B. Flops: (n-1) per element.
// Memory order: 8-byte words carry their own tag and are written and read whole (st/ld.relaxed.sys.v2.u64); bulk data lies
// behind a flag of st.release.sys, read with ld.acquire.sys. Only the device's own memory is polled, and no host word.
// Blocks may start early (dependent.cuh). Where ranks share a device their successors start when they have ended: while a
// lane waits, nobody may sit on the device that keeps another rank's lanes from it.
// Architectures: sm_80 and newer.
#include "kernels/collective/lane_protocol.hpp"
#include "kernels/cuda/collective_launch.hpp"
#include "kernels/cuda/dependent.cuh"

namespace vdist::kernels::cuda {

namespace {

/// Blocks on a multiprocessor at once, for messages of many lanes: all lanes of all ranks run at the same time, also where
/// eight ranks share a device.
constexpr int lane_blocks_min = 2;

/// The Machine of lane_protocol.hpp.
struct device_thread {
  __device__ __forceinline__ std::uint32_t thread() const { return threadIdx.x; }

  __device__ __forceinline__ std::uint32_t threads() const { return blockDim.x; }

  __device__ __forceinline__ void sync() const { __syncthreads(); }

  __device__ __forceinline__ bool sync_or(bool any) const {
    return __syncthreads_or(static_cast<int>(any)) != 0;
  }

  __device__ __forceinline__ std::uint64_t now_ns() const {
    std::uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
  }

  __device__ __forceinline__ void relax() const {}

  __device__ __forceinline__ std::uint32_t load(const std::uint32_t* from) const {
    std::uint32_t value;
    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
  }

  __device__ __forceinline__ std::uint64_t load(const std::uint64_t* from) const {
    std::uint64_t value;
    asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
    return value;
  }

  __device__ __forceinline__ std::uint64_t load_acquire(const std::uint64_t* from) const {
    std::uint64_t value;
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
    return value;
  }

  __device__ __forceinline__ void store_release(std::uint64_t* to, std::uint64_t value) const {
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
  }

  __device__ __forceinline__ void
  load_words(const std::uint64_t* from, std::uint64_t& a, std::uint64_t& b) const {
    asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(a), "=l"(b)
                 : "l"(from)
                 : "memory");
  }

  __device__ __forceinline__ void
  store_words(std::uint64_t* to, std::uint64_t a, std::uint64_t b) const {
    asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(a), "l"(b)
                 : "memory");
  }

  __device__ __forceinline__ unit load_unit(const unit* from) const {
    unit value;
    asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.at[0]), "=r"(value.at[1]), "=r"(value.at[2]), "=r"(value.at[3])
                 : "l"(from)
                 : "memory");
    return value;
  }

  __device__ __forceinline__ void store_unit(unit* to, const unit& value) const {
    asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to),
                 "r"(value.at[0]),
                 "r"(value.at[1]),
                 "r"(value.at[2]),
                 "r"(value.at[3])
                 : "memory");
  }

  __device__ __forceinline__ bool
  claim(std::uint64_t* at, std::uint64_t value, std::uint64_t seen) const {
    static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));
    return atomicCAS(reinterpret_cast<unsigned long long*>(at), seen, value) == seen;
  }

  __device__ __forceinline__ void report(std::uint64_t* to, std::uint64_t value) const {
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
  }
};

/// Runs `work(lane)` of this block between begin() and end().
template <int Ranks, class Work>
__device__ __forceinline__ void
run_lane(const group_view& group, group_operation operation, const Work& work) {
  if (group.has_own_device) {
    let_successor_start();
  }
  wait_for_predecessor();
  device_thread machine;
  lane<device_thread, Ranks> mine(machine,
                                  group,
                                  static_cast<std::int32_t>(blockIdx.x),
                                  static_cast<std::int32_t>(gridDim.x),
                                  operation);
  if (mine.begin() && work(mine)) {
    mine.end();
  }
}

template <int Ranks, class Cell, sum_path Path>
__global__ void __launch_bounds__(lane_threads_max, Path == sum_path::words ? 1 : lane_blocks_min)
    all_reduce_kernel(const __grid_constant__ group_view group,
                      cell* data,
                      cell* onto,
                      std::size_t cells) {
  run_lane<Ranks>(group, group_operation::all_reduce, [&](auto& mine) {
    const message<cell> own(data, cells);
    const sum_target target(own, onto, cells);
    if constexpr (Path == sum_path::words) {
      return mine.template sum_by_words<Cell>(own, target);
    } else if constexpr (Path == sum_path::one_shot) {
      return mine.template sum_in_one<Cell>(own, target);
    } else {
      return mine.template sum_in_two<Cell>(own, target);
    }
  });
}

template <int Ranks>
__global__ void __launch_bounds__(lane_threads_max, lane_blocks_min)
    all_gather_kernel(const __grid_constant__ group_view group,
                      const cell* in,
                      cell* out,
                      std::size_t rows,
                      std::size_t part) {
  run_lane<Ranks>(group, group_operation::all_gather, [&](auto& mine) {
    return mine.gather(in, out, rows, part);
  });
}

template <int Ranks>
__global__ void __launch_bounds__(lane_threads_max, lane_blocks_min)
    broadcast_kernel(const __grid_constant__ group_view group,
                     cell* data,
                     std::size_t cells,
                     std::int32_t root,
                     group_operation operation) {
  run_lane<Ranks>(group, operation, [&](auto& mine) {
    return mine.broadcast(message<cell>(data, cells), root);
  });
}

__global__ void __launch_bounds__(lane_threads_max, lane_blocks_min)
    send_kernel(const __grid_constant__ group_view group, const cell* data, std::size_t cells) {
  run_lane<2>(group, group_operation::send, [&](auto& mine) {
    return mine.send(message<const cell>(data, cells), 1);
  });
}

__global__ void __launch_bounds__(lane_threads_max, lane_blocks_min)
    recv_kernel(const __grid_constant__ group_view group, cell* data, std::size_t cells) {
  run_lane<2>(group, group_operation::recv, [&](auto& mine) {
    return mine.recv(message<cell>(data, cells), 0);
  });
}

// Kernels by number of ranks.

using all_reduce_function = void (*)(group_view, cell*, cell*, std::size_t);
using all_gather_function = void (*)(group_view, const cell*, cell*, std::size_t, std::size_t);
using broadcast_function = void (*)(group_view, cell*, std::size_t, std::int32_t, group_operation);

template <int Ranks, class Cell>
all_reduce_function all_reduce_of(sum_path path) {
  switch (path) {
  case sum_path::words:
    return all_reduce_kernel<Ranks, Cell, sum_path::words>;
  case sum_path::one_shot:
    return all_reduce_kernel<Ranks, Cell, sum_path::one_shot>;
  case sum_path::two_shot:
    break;
  }
  return all_reduce_kernel<Ranks, Cell, sum_path::two_shot>;
}

/// f(constant) with the group's size; cudaErrorInvalidValue for sizes without kernels.
template <class F>
cudaError_t with_ranks(std::int32_t ranks, const F& f) {
  switch (ranks) {
  case 2:
    return f(std::integral_constant<int, 2>{});
  case 4:
    return f(std::integral_constant<int, 4>{});
  case 8:
    return f(std::integral_constant<int, 8>{});
  default:
    return cudaErrorInvalidValue;
  }
}

std::size_t units_of(std::size_t cells) {
  return (cells + unit_cells - 1) / unit_cells;
}

/// Rows begin units of their own.
launch_shape shape_of(std::size_t cells, std::int32_t lanes_most, std::size_t rows = 1) {
  const auto chosen = choose_lanes(rows * units_of(cells / rows), lanes_most);
  return {dim3(static_cast<unsigned>(chosen.lanes)), dim3(static_cast<unsigned>(chosen.threads))};
}

cudaError_t load(const void* kernel) {
  cudaFuncAttributes ignored{};
  return cudaFuncGetAttributes(&ignored, kernel);
}

template <class Function>
cudaError_t load_after(cudaError_t status, Function kernel) {
  return status == cudaSuccess ? load(reinterpret_cast<const void*>(kernel)) : status;
}

} // namespace

cudaError_t
all_reduce(const group_view& group, const all_reduce_args& args, cudaStream_t stream) noexcept {
  if (args.count <= 0) {
    return cudaSuccess;
  }
  const auto bytes = static_cast<std::size_t>(args.count) * size_of(args.type);
  const auto cells = bytes / sizeof(cell);
  const auto path = args.forced.value_or(choose_sum_path(bytes, group.layout.ranks));
  return with_ranks(group.layout.ranks, [&](auto ranks) {
    const auto kernel = args.type == dtype::bfloat16
                            ? all_reduce_of<ranks.value, bfloat16_cell>(path)
                            : all_reduce_of<ranks.value, float_cell>(path);
    const auto lanes_most =
        path == sum_path::words ? word_lanes_max : bulk_lanes_max(group.layout.ranks);
    return launch(kernel,
                  shape_of(cells, lanes_most),
                  stream,
                  group,
                  static_cast<cell*>(args.data),
                  reinterpret_cast<cell*>(args.onto),
                  cells);
  });
}

cudaError_t
all_gather(const group_view& group, const all_gather_args& args, cudaStream_t stream) noexcept {
  if (args.bytes <= 0) {
    return cudaSuccess;
  }
  const auto cells = static_cast<std::size_t>(args.bytes) / sizeof(cell);
  const auto rows = static_cast<std::size_t>(args.rows);
  return with_ranks(group.layout.ranks, [&](auto ranks) {
    return launch(static_cast<all_gather_function>(all_gather_kernel<ranks.value>),
                  shape_of(cells, bulk_lanes_max(ranks.value), rows),
                  stream,
                  group,
                  static_cast<const cell*>(args.in),
                  static_cast<cell*>(args.out),
                  rows,
                  cells / rows);
  });
}

namespace {

cudaError_t launch_broadcast(const group_view& group,
                             const broadcast_args& args,
                             group_operation operation,
                             cudaStream_t stream) {
  const auto cells = static_cast<std::size_t>(args.bytes) / sizeof(cell);
  return with_ranks(group.layout.ranks, [&](auto ranks) {
    return launch(static_cast<broadcast_function>(broadcast_kernel<ranks.value>),
                  shape_of(cells, bulk_lanes_max(group.layout.ranks)),
                  stream,
                  group,
                  static_cast<cell*>(args.data),
                  cells,
                  args.root,
                  operation);
  });
}

} // namespace

cudaError_t
broadcast(const group_view& group, const broadcast_args& args, cudaStream_t stream) noexcept {
  return args.bytes <= 0 ? cudaSuccess
                         : launch_broadcast(group, args, group_operation::broadcast, stream);
}

cudaError_t barrier(const group_view& group, cudaStream_t stream) noexcept {
  return launch_broadcast(group, {}, group_operation::barrier, stream);
}

cudaError_t send(const group_view& group, const send_args& args, cudaStream_t stream) noexcept {
  const auto cells = static_cast<std::size_t>(args.bytes) / sizeof(cell);
  return args.bytes <= 0 ? cudaSuccess
                         : launch(send_kernel,
                                  shape_of(cells, bulk_lanes_max(group.layout.ranks)),
                                  stream,
                                  group,
                                  static_cast<const cell*>(args.data),
                                  cells);
}

cudaError_t recv(const group_view& group, const recv_args& args, cudaStream_t stream) noexcept {
  const auto cells = static_cast<std::size_t>(args.bytes) / sizeof(cell);
  return args.bytes <= 0 ? cudaSuccess
                         : launch(recv_kernel,
                                  shape_of(cells, bulk_lanes_max(group.layout.ranks)),
                                  stream,
                                  group,
                                  static_cast<cell*>(args.data),
                                  cells);
}

cudaError_t load_collectives() noexcept {
  auto status = load_after(cudaSuccess, send_kernel);
  status = load_after(status, recv_kernel);
  for (const std::int32_t size : {2, 4, 8}) {
    const auto loaded = with_ranks(size, [&](auto ranks) {
      auto now = load_after(status, all_gather_kernel<ranks.value>);
      now = load_after(now, broadcast_kernel<ranks.value>);
      for (const auto path : {sum_path::words, sum_path::one_shot, sum_path::two_shot}) {
        now = load_after(now, all_reduce_of<ranks.value, float_cell>(path));
        now = load_after(now, all_reduce_of<ranks.value, bfloat16_cell>(path));
      }
      return now;
    });
    status = status == cudaSuccess ? loaded : status;
  }
  return status;
}

} // namespace vdist::kernels::cuda
