// model/exec/weight_seal.hpp — whether the weights that a rank takes over are still those that were loaded. The one before
// may have died of a fault that wrote anywhere: a sum over the weights lies behind them, in their region, and is computed
// again and compared.
//
// On a device the whole region is read, as fast as its memory allows (16 GB in 4 ms on an H200), behind the host's back. In
// host memory this would take seconds, while the CPU's requests wait, and nothing but a process with a wild pointer writes
// there: at most host_checked_bytes are read, in pages spread over the region, which finds what was overwritten at large.
// W-1 The seal is written when the weights are complete, before the region is declared ready. A damaged seal counts as
//     damaged weights.
// Not thread-safe: the runner's thread owns it.
#pragma once

#include "model/exec/device_memory.hpp"

#include "runtime/base/result.hpp"

#include "kernels/backend.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vdist::exec {

/// Of host memory, read in one check.
inline constexpr std::size_t host_checked_bytes = std::size_t{16} << 20U;
inline constexpr std::size_t host_checked_page = 4096;

/// Bytes of the region for weights of `bytes`.
[[nodiscard]] std::size_t sealed_bytes(std::size_t bytes);

class weight_seal {
public:
  /// `region` is sealed_bytes(bytes) of the backend's memory, with weights of `bytes` at its beginning; both are borrowed.
  /// Throws std::bad_alloc.
  weight_seal(kernels::backend& ops,
              std::span<std::byte> region,
              std::size_t bytes,
              std::chrono::milliseconds deadline);

  /// W-1. Waits for the device. Error: internal (it failed or takes too long).
  [[nodiscard]] result<void> set();

  /// Starts a check; a device does it in the order of its queue.
  void begin_check();

  [[nodiscard]] bool is_checking() const noexcept { return is_checking_; }

  /// Waits for the check that was begun. Error: internal, as set().
  [[nodiscard]] result<bool> is_intact();

private:
  void add_up(std::uint64_t* sum);
  [[nodiscard]] result<void> wait_for(kernels::queue_mark mark);
  [[nodiscard]] std::uint64_t* seal() const;

  kernels::backend& ops_;
  std::byte* region_;
  std::size_t bytes_;
  std::chrono::milliseconds deadline_;
  device_memory sum_;   // computed by a check
  device_memory words_; // staging: the seal, then that sum
  kernels::queue_mark mark_ = 0;
  bool is_checking_ = false;
};

} // namespace vdist::exec
