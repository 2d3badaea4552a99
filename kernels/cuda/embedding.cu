// kernels/cuda/embedding.cu — table look-ups and the small integer updates of a step, kernels/embedding/embedding.hpp.
//
// embedding and gather_rows are one kernel: a row of a table, converted, or zeros. One thread per chunk of 4 or 8
// elements; grid: (rows, blocks along a row); block: 128 threads for few rows, 256 for many. take_fed_tokens and
// update_blocks: a thread per entry.
// Bytes: rows * width * (size of the table's type + size of y's; position_embedding twice y's). Flops: none to speak of.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/embedding/embedding.hpp"

#include <limits>

namespace vdist::kernels::cuda {

namespace {

constexpr unsigned list_threads = 256;

/// y[i] = table[indices[i] - first] if 0 <= indices[i] - first < count, else zeros.
struct look_up_task {
  const std::int32_t* indices; // [rows]; nullptr: row i itself
  const void* table;
  void* y;
  std::int64_t table_stride;
  std::int64_t y_stride;
  std::int32_t rows;
  std::int32_t width;
  std::int32_t first;
  std::int32_t count;
  bool is_aligned;
};

template <class T, class Y>
__global__ void __launch_bounds__(256) look_up(const look_up_task task) {
  let_successor_start();
  constexpr int N = chunk_of<T, Y>;
  const int first = first_of_chunk<N>();
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  wait_for_predecessor();
  if (first >= task.width) {
    return;
  }
  const std::int64_t index =
      (task.indices == nullptr ? std::int64_t{row} : task.indices[row]) - task.first;
  float values[N] = {};
  if (index >= 0 && index < task.count) {
    const T* from = static_cast<const T*>(task.table) + index * task.table_stride;
    load_chunk(from, first, task.width, task.is_aligned, values);
  }
  store_chunk(
      static_cast<Y*>(task.y) + row * task.y_stride, first, task.width, task.is_aligned, values);
}

template <class T, class Y>
__global__ void __launch_bounds__(256)
    add_positions(const position_embedding_args args, bool is_aligned) {
  let_successor_start();
  constexpr int N = chunk_of<T, Y>;
  const int first = first_of_chunk<N>();
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  wait_for_predecessor();
  const std::int32_t position = args.positions[row];
  if (first >= args.width || position < 0) {
    return;
  }
  const T* from = static_cast<const T*>(args.table)
                  + (static_cast<std::int64_t>(position) + args.offset) * args.width;
  Y* y = static_cast<Y*>(args.y.data) + row * args.y_stride;
  float sum[N];
  float added[N];
  load_chunk(y, first, args.width, is_aligned, sum);
  load_chunk(from, first, args.width, is_aligned, added);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    sum[i] += added[i];
  }
  store_chunk(y, first, args.width, is_aligned, sum);
}

__global__ void __launch_bounds__(list_threads) take_fed(const fed_tokens_args args) {
  let_successor_start();
  const auto t = static_cast<std::int64_t>(blockIdx.x) * list_threads + threadIdx.x;
  wait_for_predecessor();
  if (t >= args.tokens || args.ids[t] >= 0) {
    return;
  }
  const std::int32_t slot = args.slots[t];
  if (slot >= 0) { // else a token of padding
    args.ids[t] = args.fed[slot];
  }
}

__global__ void __launch_bounds__(list_threads) put_blocks(const block_updates_args args) {
  let_successor_start();
  const auto i = static_cast<std::int64_t>(blockIdx.x) * list_threads + threadIdx.x;
  wait_for_predecessor();
  if (i < args.count) {
    args.tables[args.rows[i] * args.stride + args.columns[i]] = args.blocks[i];
  }
}

launch_shape shape_for(std::int32_t rows, std::int32_t width, int per_thread) noexcept {
  const row_grid grid = choose_row_grid(rows, width, per_thread);
  return {dim3(grid.rows, grid.blocks), dim3(grid.threads)};
}

launch_shape shape_for_list(std::int32_t count) noexcept {
  return {dim3((static_cast<unsigned>(count) + list_threads - 1) / list_threads),
          dim3(list_threads)};
}

cudaError_t
start(const look_up_task& task, dtype table_type, dtype y_type, cudaStream_t stream) noexcept {
  if (task.rows == 0) {
    return cudaSuccess;
  }
  with_type(table_type, [&](auto table) {
    return with_type(y_type, [&](auto y) {
      using T = decltype(table);
      using Y = decltype(y);
      return launch(look_up<T, Y>, shape_for(task.rows, task.width, chunk_of<T, Y>), stream, task);
    });
  });
  return cudaPeekAtLastError();
}

} // namespace

cudaError_t embedding(const embedding_args& args, cudaStream_t stream) noexcept {
  const bool is_aligned = is_vector_aligned(args.table, args.width, args.type)
                          && is_vector_aligned(args.y, args.y_stride);
  return start({.indices = args.ids,
                .table = args.table,
                .y = args.y.data,
                .table_stride = args.width,
                .y_stride = args.y_stride,
                .rows = args.tokens,
                .width = args.width,
                .first = args.first_row,
                .count = args.rows,
                .is_aligned = is_aligned},
               args.type,
               args.y.type,
               stream);
}

cudaError_t position_embedding(const position_embedding_args& args, cudaStream_t stream) noexcept {
  if (args.tokens == 0) {
    return cudaSuccess;
  }
  const bool is_aligned = is_vector_aligned(args.table, args.width, args.type)
                          && is_vector_aligned(args.y, args.y_stride);
  with_type(args.type, [&](auto table) {
    return with_type(args.y.type, [&](auto y) {
      using T = decltype(table);
      using Y = decltype(y);
      return launch(add_positions<T, Y>,
                    shape_for(args.tokens, args.width, chunk_of<T, Y>),
                    stream,
                    args,
                    is_aligned);
    });
  });
  return cudaPeekAtLastError();
}

cudaError_t gather_rows(const gather_rows_args& args, cudaStream_t stream) noexcept {
  const bool is_aligned =
      is_vector_aligned(args.x, args.x_stride) && is_vector_aligned(args.y, args.width);
  return start({.indices = args.indices,
                .table = args.x.data,
                .y = args.y.data,
                .table_stride = args.x_stride,
                .y_stride = args.width,
                .rows = args.rows,
                .width = args.width,
                .first = 0,
                .count = std::numeric_limits<std::int32_t>::max(),
                .is_aligned = is_aligned},
               args.x.type,
               args.y.type,
               stream);
}

cudaError_t take_fed_tokens(const fed_tokens_args& args, cudaStream_t stream) noexcept {
  if (args.tokens == 0) {
    return cudaSuccess;
  }
  launch(take_fed, shape_for_list(args.tokens), stream, args);
  return cudaPeekAtLastError();
}

cudaError_t update_blocks(const block_updates_args& args, cudaStream_t stream) noexcept {
  if (args.count == 0) {
    return cudaSuccess;
  }
  launch(put_blocks, shape_for_list(args.count), stream, args);
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
