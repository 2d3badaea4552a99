// model/weights/loading_threads.hpp — the threads that share the work of loading, wherever it goes.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>

namespace vdist::weights {

inline constexpr std::int32_t max_load_threads = 64;

/// Calls work() on `threads` threads, the caller's included, but no more than there are `pieces`; where no more threads are to
/// be had, those that run do it. Returns when all have. Error: invalid_argument (threads).
[[nodiscard]] result<void>
work_on_threads(std::int32_t threads, std::size_t pieces, const std::function<void()>& work);

} // namespace vdist::weights
