// kernels/cuda/shared_memory.hpp — device memory that outlives the processes that use it: made in one, handed over as a
// descriptor, mapped in others at the same address. The functions behind cuda_module's members of the same names.
// These are calls of the driver, which the runtime does not have; its library is opened here, while the program runs, so
// that libvdist_cuda.so loads on machines without one. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vdist::kernels::cuda {

/// Makes no context: that of a process costs half a GiB of device memory.
[[nodiscard]] int create_shareable(std::int32_t device, std::size_t bytes, std::string& why);

/// Cost: 3 ms per 100 GiB on an H200.
[[nodiscard]] void* map_shared(
    int memory, std::int32_t device, std::size_t bytes, std::uint64_t address, std::string& why);
void unmap_shared(void* memory, std::size_t bytes) noexcept;

/// Waits for it, a minute at most.
[[nodiscard]] bool
fill_zero(std::int32_t device, void* memory, std::size_t bytes, std::string& why);

} // namespace vdist::kernels::cuda
