// runtime/base/check.hpp — VDIST_CHECK stops the process when an invariant is broken.
// On in release. Never used on data from outside the process: those get a result<T> (result.hpp).
#pragma once

namespace vdist {

/// Prints file, line, condition and message to stderr, then aborts. Peers learn of it through
/// liveness.
[[noreturn]] void
check_failed(const char* file, int line, const char* condition, const char* message) noexcept;

} // namespace vdist

/// Usage: VDIST_CHECK(refs > 0, "K-2: a released block must be referenced").
#define VDIST_CHECK(condition, message)                                                            \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      ::vdist::check_failed(__FILE__, __LINE__, #condition, message);                              \
    }                                                                                              \
  } while (false)
