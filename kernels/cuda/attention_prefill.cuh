// kernels/cuda/attention_prefill.cuh — attention of the sequences that have more than one query in this step, on tensor
// cores.
#pragma once

#include "kernels/cuda/launch.hpp"

namespace vdist::kernels::cuda {

/// Heads that share a key head at most.
inline constexpr std::int32_t prefill_group_max = 64;

/// Shared memory of a block.
[[nodiscard]] std::int32_t attention_prefill_shared_bytes(std::int32_t head_dim) noexcept;

/// Types, head_dim and alignment as for attention_decode(). Sequences of one query are left alone.
[[nodiscard]] cudaError_t attention_prefill(const attention_args& args,
                                            cudaStream_t stream) noexcept;

} // namespace vdist::kernels::cuda
