// kernels/cuda/cuda_backend.hpp — the CUDA implementation of kernels/backend.hpp: checks contracts, picks a kernel for the
// shape, launches it on the queue's stream. Owned by one worker thread, whose current device it sets.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cuda_module.hpp"

#include <memory>
#include <string>

namespace vdist::kernels::cuda {

/// Null, and `why`, when device or memory is missing.
[[nodiscard]] std::unique_ptr<backend> make_cuda_backend(const cuda_backend_config& config,
                                                         std::string& why);

} // namespace vdist::kernels::cuda
