// kernels/cuda/random_fill.cu — generated elements, kernels/random/random_fill.hpp.
//
// A thread makes chunks of 4 float32 or 8 16-bit elements, 16 bytes each, one every grid's width. Rows that follow each
// other without a gap, in y and in the indices, are one row. Block: 256 threads, as many of them along a row as it has
// chunks (a power of two), the rest on further rows. Grid: at most grid_blocks_max blocks, so that a thread keeps the key
// of its page over many chunks: computing it costs as much as two elements.
// Bytes: rows * columns * size of y's type, written once. Integer operations: about 15 per element. One H200: 4.1 TB/s of
// float32, 2.8 TB/s of 16-bit types, where the arithmetic is the bound.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/random/random_fill.hpp"

#include <algorithm>
#include <bit>

namespace vdist::kernels::cuda {

namespace {

constexpr std::int64_t block_threads = 256;
constexpr std::int64_t grid_blocks_max = 8192;

/// The elements of a rule. Keeps the key of the page that it was in last.
class generator {
public:
  __device__ explicit generator(const random_fill_rule& rule)
      : rule_(rule), page_key_(random_page_key(rule.key, 0)) {}

  /// to[i] = element(index + i * step) for i < count; what lies behind is undefined.
  template <int N>
  __device__ __forceinline__ void
  make(std::uint64_t index, std::uint64_t step, int count, float (&to)[N]) {
    if (rule_.scale == 0.0F) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        to[i] = rule_.constant;
      }
      return;
    }
    const std::uint64_t last = index + static_cast<std::uint64_t>(count - 1) * step;
    if (index >> 32U != last >> 32U) { // rare: the chunk lies across two pages
#pragma unroll
      for (int i = 0; i < N; ++i) {
        to[i] = random_element(rule_, index + static_cast<std::uint64_t>(i) * step);
      }
      return;
    }
    if (index >> 32U != page_) {
      page_ = index >> 32U;
      page_key_ = random_page_key(rule_.key, page_);
    }
    const auto low = static_cast<std::uint32_t>(index);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      to[i] = random_value(low + static_cast<std::uint32_t>(i) * static_cast<std::uint32_t>(step),
                           page_key_,
                           rule_.scale);
    }
  }

private:
  const random_fill_rule& rule_;
  std::uint64_t page_ = 0;
  std::uint32_t page_key_;
};

template <class Y>
__global__ void __launch_bounds__(block_threads)
    fill_rows(const random_fill_args args, bool is_aligned) {
  let_successor_start();
  constexpr int N = per_vector<Y>;
  const std::int64_t row_hop = std::int64_t{gridDim.y} * blockDim.y;
  const std::int64_t column_hop = std::int64_t{gridDim.x} * blockDim.x * N;
  const std::int64_t first_column = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * N;
  generator elements_of(args.rule);
  wait_for_predecessor();
  for (std::int64_t row = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < args.rows;
       row += row_hop) {
    Y* y = static_cast<Y*>(args.y.data) + row * args.y_stride;
    const std::uint64_t first = args.first + static_cast<std::uint64_t>(row) * args.row_step;
    for (std::int64_t column = first_column; column < args.columns; column += column_hop) {
      const std::int64_t left = args.columns - column;
      const int count = left < N ? static_cast<int>(left) : N;
      float values[N];
      elements_of.make(first + static_cast<std::uint64_t>(column) * args.column_step,
                       args.column_step,
                       count,
                       values);
      store_chunk(y + column, 0, count, is_aligned, values);
    }
  }
}

std::int64_t quotient_up(std::int64_t a, std::int64_t b) noexcept {
  return (a + b - 1) / b;
}

/// Not empty, any size.
launch_shape shape_for(std::int64_t rows, std::int64_t columns, int per_thread) noexcept {
  const std::int64_t chunks = quotient_up(columns, per_thread);
  const auto across = static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::min(chunks, block_threads))));
  const std::int64_t down = block_threads / across;
  const std::int64_t blocks = std::min(quotient_up(chunks, across), grid_blocks_max);
  const std::int64_t bands = std::min(quotient_up(rows, down), grid_blocks_max / blocks);
  return {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(bands)),
          dim3(static_cast<unsigned>(across), static_cast<unsigned>(down))};
}

/// Makes one row of rows that follow each other.
random_fill_args joined(random_fill_args args) noexcept {
  const bool is_one_run =
      args.y_stride == args.columns
      && args.row_step == static_cast<std::uint64_t>(args.columns) * args.column_step;
  if (is_one_run || args.rows == 1) {
    args.columns *= args.rows;
    args.rows = 1;
    args.y_stride = 0; // no second row whose alignment could matter
  }
  return args;
}

} // namespace

cudaError_t fill_random(const random_fill_args& args, cudaStream_t stream) noexcept {
  if (args.rows <= 0 || args.columns <= 0) {
    return cudaSuccess;
  }
  const random_fill_args task = joined(args);
  const bool is_aligned = is_vector_aligned(task.y, task.y_stride);
  with_type(task.y.type, [&](auto y) {
    using Y = decltype(y);
    return launch(
        fill_rows<Y>, shape_for(task.rows, task.columns, per_vector<Y>), stream, task, is_aligned);
  });
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
