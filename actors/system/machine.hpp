// actors/system/machine.hpp — what this host has: cores and memory that may be used.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vdist::actors {

/// Cores that this process may run on, at least 1.
[[nodiscard]] std::int32_t available_cores();

/// Bytes of memory that can be taken without swapping (MemAvailable, bounded by the control group's
/// limit).
[[nodiscard]] std::size_t available_memory();

} // namespace vdist::actors
