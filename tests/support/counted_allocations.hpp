// tests/support/counted_allocations.hpp — counts every operator new of the program that links
// counted_allocations.cpp. In a translation unit of its own: inlined next to their callers,
// replaced operators confuse the compiler's checks.
#pragma once

#include <cstddef>

namespace vdist::testing {

/// Allocations since the program started, by any thread.
[[nodiscard]] std::size_t allocations() noexcept;

} // namespace vdist::testing
