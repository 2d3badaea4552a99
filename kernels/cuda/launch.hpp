// kernels/cuda/launch.hpp — the launchers of the CUDA operations: one function per operation, arguments as the contracts
// say (kernels/<family>), all pointers in device memory. A launcher checks nothing that the contract promises, never
// allocates, waits, logs or reads the environment, and may be captured into a graph: its grid depends on host values of
// the arguments only. It returns cudaPeekAtLastError() after its launches; nothing to do launches nothing and is success.
//
// Padding: rows whose sequence has first_position -1, whose token's position is -1 or whose slot is -1 belong to nobody;
// see kernels/attention/attention.hpp. Every other output element is written, and nothing else.
// Types: `elements` of float32, bfloat16 or float16; sums are float32 at least.
#pragma once

#include "kernels/activation/activation.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/checksum/checksum.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/linear/linear.hpp"
#include "kernels/norm/norm.hpp"
#include "kernels/position/rope.hpp"
#include "kernels/random/random_fill.hpp"
#include "kernels/sampling/sampling.hpp"

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace vdist::kernels::cuda {

/// Facts of the device that the launchers' choices depend on.
struct device_limits {
  std::int32_t multiprocessors = 132;
  std::int32_t shared_bytes_max = 227 * 1024; // of one block, opted in
};

// norm.cu
[[nodiscard]] cudaError_t rms_norm(const rms_norm_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t layer_norm(const layer_norm_args& args, cudaStream_t stream) noexcept;

// elementwise.cu
[[nodiscard]] cudaError_t gated_activation(const gated_activation_args& args,
                                           cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t activation(const activation_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t add_residual(const add_residual_args& args, cudaStream_t stream) noexcept;

// embedding.cu
[[nodiscard]] cudaError_t embedding(const embedding_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t position_embedding(const position_embedding_args& args,
                                             cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t gather_rows(const gather_rows_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t take_fed_tokens(const fed_tokens_args& args,
                                          cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t update_blocks(const block_updates_args& args,
                                        cudaStream_t stream) noexcept;

// sampling.cu
[[nodiscard]] std::size_t sample_workspace_bytes(std::int32_t rows_max,
                                                 std::int32_t vocabulary) noexcept;
[[nodiscard]] cudaError_t
sample(const sample_args& args, void* workspace, cudaStream_t stream) noexcept;

// digest.cu
[[nodiscard]] cudaError_t digest(const digest_args& args, cudaStream_t stream) noexcept;

// checksum.cu
[[nodiscard]] cudaError_t
checksum(const checksum_args& args, const device_limits& device, cudaStream_t stream) noexcept;

// random_fill.cu
[[nodiscard]] cudaError_t fill_random(const random_fill_args& args, cudaStream_t stream) noexcept;

// qkv.cu
[[nodiscard]] cudaError_t rope(const rope_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t kv_append(const kv_append_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t prepare_qkv(const qkv_args& args, cudaStream_t stream) noexcept;

// attention.cu chooses; attention_decode.cu: sequences of one token; attention_prefill.cu: of more
/// Bytes for steps of up to `tokens_max` tokens of `heads` heads of `head_dim`.
[[nodiscard]] std::size_t attention_workspace_bytes(std::int32_t tokens_max,
                                                    std::int32_t heads,
                                                    std::int32_t head_dim,
                                                    const device_limits& device) noexcept;
[[nodiscard]] cudaError_t attention(const attention_args& args,
                                    void* workspace,
                                    const device_limits& device,
                                    cudaStream_t stream) noexcept;

// linear_small.cu: few tokens, bound by reading the weights. 16-bit weights and x of the same type, in_features and
// x_stride multiples of 8, weight and x 16-byte aligned.
inline constexpr std::int32_t small_linear_tokens_max = 16;

/// What happens to the sums.
enum class linear_epilogue : std::uint8_t {
  store, // y = sum + bias
  add,   // y += sum + bias (linear_residual)
  gate,  // y = f(gate) * up (gated_linear)
};

struct small_linear_args {
  linear_args linear; // y and y_stride: where the epilogue writes
  linear_epilogue epilogue = linear_epilogue::store;
  activation_kind kind = activation_kind::silu; // gate only
};

/// Whether small_linear() can do it.
[[nodiscard]] bool fits_small_linear(const linear_args& args) noexcept;
[[nodiscard]] cudaError_t small_linear(const small_linear_args& args,
                                       const device_limits& device,
                                       cudaStream_t stream) noexcept;

// linear_any.cu: any shape, alignment and type, slowly: what neither the small kernel nor cuBLASLt takes.
[[nodiscard]] cudaError_t
any_linear(const linear_args& args, bool adds, cudaStream_t stream) noexcept;

} // namespace vdist::kernels::cuda
