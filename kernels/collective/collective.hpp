// kernels/collective/collective.hpp — collectives between devices that map each other's exchange regions
// (exchange_layout.hpp): one member per rank and group. Calls enqueue on the queue of the member's backend, may be
// recorded by queue().run() and replayed in any later epoch. Data is device memory of the backend.
//
// C-1 All ranks of a group call the same operations with the same sizes in the same order.
// C-2 Sums are added in the order of T-2 (transport/tensor/communicator.hpp), whatever their size: every rank gets the
//     same bits, and float32 has those of the CPU. bfloat16 is added in float32 and rounded once.
// C-3 No operation hangs: a rank that waits longer than `wait` for another, or whose fence is above its epoch, leaves.
//     Everything it enqueued behind that falls through until start_epoch(); fault() says what happened and to whom.
// C-4 A later epoch reads nothing that an earlier one wrote. A dead member that writes on disturbs none of the next 7: their
//     banks are others. It must have ended before the 8th begins.
// Not thread-safe: one worker owns it. raise_fence() alone may be called from any thread.
#pragma once

#include "kernels/collective/exchange_layout.hpp"
#include "kernels/collective/group_state.hpp"
#include "kernels/dtype.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace vdist::kernels {

struct device_group_config {
  std::int32_t rank = 0;
  std::int32_t ranks = 2; // 2, 4 or 8
  exchange_layout layout; // .ranks == ranks
  /// Regions by rank, layout.region_bytes() each, aligned to 256 bytes, zero-filled before anybody joins. Addresses of this
  /// process: allocations of its devices, or mappings of what other processes hold. Borrowed.
  std::array<std::byte*, group_ranks_max> regions{};
  /// Regions of other devices are mapped for this one already (cuMemSetAccess); else peer access is opened.
  bool are_mapped = false;
  std::chrono::nanoseconds wait{10'000'000'000}; // bound of each wait within an operation
};

struct all_reduce_args {
  void* data = nullptr;        // [count], in place, 4-byte aligned; 16 is faster
  std::int64_t count = 0;      // elements; even for bfloat16; 0 launches nothing
  dtype type = dtype::float32; // or bfloat16
  float* onto = nullptr; // [count], float32: onto += sum instead, and data is undefined afterwards
  /// The way it takes, for measurements; the same on all ranks. Of words only in layouts that have some.
  std::optional<sum_path> forced = std::nullopt; // none: choose_sum_path()
};

/// Row i of out = row i of `in` of rank 0, of rank 1, …. Addresses are 4-byte aligned; where they are to 16, and parts are
/// whole 16 bytes, it is faster.
struct all_gather_args {
  const void* in = nullptr; // [rows, part]
  void* out = nullptr;      // [rows, ranks, part]; does not overlap in
  std::int64_t bytes = 0;   // of `in`: a multiple of 4 * rows, below 2^34; 0 launches nothing
  std::int64_t rows = 1;    // 0 only without bytes
};

struct broadcast_args {
  void* data = nullptr;   // [bytes]
  std::int64_t bytes = 0; // a multiple of 4, as is the address
  std::int32_t root = 0;
};

/// Of a pipe: a group of two ranks, of which 0 sends and 1 receives.
struct send_args {
  const void* data = nullptr; // [bytes]; may be written again behind the call
  std::int64_t bytes = 0;     // a multiple of 4, as is the address; 0 launches nothing
};

struct recv_args {
  void* data = nullptr;
  std::int64_t bytes = 0; // exactly what is sent
};

class device_group {
public:
  virtual ~device_group() = default;

  /// Waits until what was enqueued has run or left, then begins `epoch` (> 0, above all earlier ones). False, when it takes
  /// longer than `timeout` or the device has failed.
  [[nodiscard]] virtual bool start_epoch(std::uint32_t epoch,
                                         std::chrono::nanoseconds timeout) noexcept = 0;

  virtual void all_reduce(const all_reduce_args& args) noexcept = 0;
  virtual void all_gather(const all_gather_args& args) noexcept = 0;
  virtual void broadcast(const broadcast_args& args) noexcept = 0;
  virtual void barrier() noexcept = 0;
  virtual void send(const send_args& args) noexcept = 0;
  virtual void recv(const recv_args& args) noexcept = 0;

  /// The first fault of this epoch; a read of host memory. Final for an operation once a mark behind it has passed.
  [[nodiscard]] virtual fault_record fault() const noexcept = 0;

  /// What this rank said last about a wait of some length (P-5 of lane_protocol.hpp); a read of host memory. It waits now only
  /// if the record has just changed. Any thread.
  [[nodiscard]] virtual wait_record waiting() const noexcept = 0;

  /// Leaves out the next collective that is enqueued, as a defect would: for tests of what the others do then.
  virtual void skip_next() noexcept = 0;

  /// Waits of epochs below `to` end, within microseconds. Any thread, also while the device works.
  virtual void raise_fence(std::uint32_t to) noexcept = 0;
};

} // namespace vdist::kernels
