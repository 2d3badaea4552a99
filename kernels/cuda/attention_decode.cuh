// kernels/cuda/attention_decode.cuh — attention of the sequences that have one query in this step, on tensor cores.
#pragma once

#include "kernels/cuda/launch.hpp"

namespace vdist::kernels::cuda {

/// Bound of what attention_decode() uses, whatever the batch.
[[nodiscard]] std::size_t attention_decode_workspace_bytes(std::int32_t head_dim,
                                                           const device_limits& device) noexcept;

/// Shared memory of a block.
[[nodiscard]] std::int32_t attention_decode_shared_bytes(std::int32_t head_dim) noexcept;

/// q, out and cache of one 16-bit type; head_dim 64, 96, 128 or 256; q and cache 16-byte aligned, q_stride a multiple of 8,
/// out 4-byte aligned, out_stride even. Other sequences are left alone; rows of padding become zeros.
[[nodiscard]] cudaError_t attention_decode(const attention_args& args,
                                           void* workspace,
                                           const device_limits& device,
                                           cudaStream_t stream) noexcept;

} // namespace vdist::kernels::cuda
