// kernels/cuda/collective_launch.hpp — launchers of the collectives (all_reduce.cu), with the rules of launch.hpp. A
// launch's shape is a function of its size alone, so all ranks of a group have the same. group.layout.ranks is 2, 4 or 8;
// anything else is cudaErrorInvalidValue.
#pragma once

#include "kernels/collective/collective.hpp"

#include <cuda_runtime_api.h>

namespace vdist::kernels::cuda {

[[nodiscard]] cudaError_t
all_reduce(const group_view& group, const all_reduce_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t
all_gather(const group_view& group, const all_gather_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t
broadcast(const group_view& group, const broadcast_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t barrier(const group_view& group, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t
send(const group_view& group, const send_args& args, cudaStream_t stream) noexcept;
[[nodiscard]] cudaError_t
recv(const group_view& group, const recv_args& args, cudaStream_t stream) noexcept;

/// Loads every kernel above into the present device: the first launch of a kernel that is not loaded waits for those that
/// run, perhaps for one that waits for this launch.
[[nodiscard]] cudaError_t load_collectives() noexcept;

} // namespace vdist::kernels::cuda
