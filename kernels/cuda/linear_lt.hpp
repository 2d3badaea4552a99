// kernels/cuda/linear_lt.hpp — linears through cuBLASLt: many tokens, bound by arithmetic. Row-major y = x weightᵀ is, read
// by columns, C (out x tokens) = weight (in x out)ᵀ · x (in x tokens).
// Sums: float32 for 16-bit types; for float32 plain multiply-adds, no tf32 (CUBLAS_COMPUTE_32F_PEDANTIC).
//
// L-1 The same shape gets the same algorithm in every process on the same kind of device and version of cuBLAS: the first
//     one that the library's heuristic names. Algorithms that add parts in the type of the output are ruled out.
// L-2 run() takes no device memory and may be captured into a graph. The workspace belongs to it from call to call, so one
//     object serves one stream.
// cuBLASLt adds a bias only in the type of y. A float32 bias to 16-bit y is added by a kernel of our own behind the product
// and is therefore a second rounding. Not thread-safe: one backend owns one.
#pragma once

#include "kernels/cuda/launch.hpp"

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>

namespace vdist::kernels::cuda {

class lt_linear {
public:
  /// Room that cuBLAS asks for on Hopper; with less it finds fewer algorithms.
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20U;

  /// `workspace`: device memory, 256-byte aligned, borrowed for life; for the current device.
  lt_linear(void* workspace, std::size_t bytes, const device_limits& device);
  ~lt_linear();
  lt_linear(const lt_linear&) = delete;
  lt_linear& operator=(const lt_linear&) = delete;

  /// Weight and x of one type, y of the same or float32; 16-bit types with 16-byte aligned rows of weight and x.
  [[nodiscard]] bool fits(const linear_args& args) const noexcept;

  /// y = x weightᵀ + bias, or y += that. For arguments that fit; where the library knows no algorithm for them after all,
  /// any_linear() does it.
  [[nodiscard]] cudaError_t run(const linear_args& args, bool adds, cudaStream_t stream) noexcept;

  /// What the library refused first; empty: nothing. After a failed constructor nothing fits.
  [[nodiscard]] const std::string& failure() const noexcept;

private:
  struct state;
  std::unique_ptr<state> state_;
};

// linear_any.cu
/// y[t, o] += bias[o]
[[nodiscard]] cudaError_t add_bias(const linear_args& args, cudaStream_t stream) noexcept;

} // namespace vdist::kernels::cuda
