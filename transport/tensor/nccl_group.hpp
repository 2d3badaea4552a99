// transport/tensor/nccl_group.hpp — one rank's NCCL communicator of one epoch: for large transfers and between hosts. It
// moves bytes; sums are our own, in the order of T-2, which NCCL does not promise.
//
// L-1 Everything is bounded: the communicator is non-blocking, its state is polled until a deadline or the fence.
// L-2 Nobody waits for an abort: it may take half a second, and for ever beside a graph. A thread of its own makes it; what
//     that thread needs it owns. The destructor aborts too.
// L-3 Operations are enqueued on the stream and never captured into a graph: an abort would wait for the graph's end.
// L-4 A group is used only after its test: the sum of all rank numbers, which is also the warm-up.
// L-5 One version on all ranks: the invitation carries it.
// A group lives for one epoch: a replacement needs a new invitation. One thread per object.
#pragma once

#include "transport/frame/wait_policy.hpp"
#include "transport/tensor/nccl_api.hpp"

#include "runtime/base/ids.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace vdist::tensor {

/// What rank 0 makes and everybody gets before joining; plain bytes.
struct nccl_invitation {
  std::int32_t version = 0;
  epoch of;
  nccl_unique_id id;
};

struct nccl_group_settings {
  std::int32_t rank = 0;
  std::int32_t size = 1;
  epoch now;
  std::string host;                         // of this rank, for messages
  std::chrono::milliseconds timeout{30000}; // of joining, and of each enqueueing
  const frame::fence* stop = nullptr;       // borrowed; nullptr: none
  nccl_stream stream = nullptr;             // borrowed; of the calling thread's device
  void* scratch = nullptr;                  // device memory, 8 bytes, 8-byte aligned; borrowed
  /// Copy between device and host memory behind the stream's work and wait for it, within `timeout`.
  std::function<result<void>(void* device, const void* host, std::size_t bytes)> write;
  std::function<result<void>(void* host, const void* device, std::size_t bytes)> read;
};

/// Error: internal, with NCCL's reason.
[[nodiscard]] result<nccl_invitation> make_nccl_invitation(const nccl_api& api, epoch now);

class nccl_group {
public:
  /// Joins, warms up and tests. Errors, all with rank, host and what to look at: unsupported (versions differ), stale (an
  /// invitation of another epoch), timed_out, aborted, io_failed, corrupt (the test's sum is wrong).
  [[nodiscard]] static result<std::unique_ptr<nccl_group>> join(const nccl_api& api,
                                                                const nccl_invitation& invitation,
                                                                nccl_group_settings settings,
                                                                const clock& time);
  ~nccl_group();
  nccl_group(const nccl_group&) = delete;
  nccl_group& operator=(const nccl_group&) = delete;

  /// out = in of rank 0, in of rank 1, …; device memory, `bytes` per rank.
  [[nodiscard]] result<void> all_gather(const void* in, void* out, std::size_t bytes);
  [[nodiscard]] result<void> broadcast(void* data, std::size_t bytes, std::int32_t root);
  /// Part r of out = part rank() of in of rank r; `bytes` per part.
  [[nodiscard]] result<void> all_to_all(const void* in, void* out, std::size_t bytes);

  /// Ends what runs, within milliseconds; afterwards every operation fails with aborted.
  void abort() noexcept;

private:
  nccl_group(const nccl_api& api, nccl_group_settings settings, const clock& time);

  [[nodiscard]] result<void> open(const nccl_invitation& invitation);
  [[nodiscard]] result<void> test();
  /// Takes a call's code; waits while it is in progress.
  [[nodiscard]] result<void> settle(const char* operation, nccl_code code);
  [[nodiscard]] error describe(const char* operation, nccl_code code) const;

  nccl_api api_;
  nccl_group_settings settings_;
  frame::wait_policy waits_;
  nccl_comm comm_ = nullptr;
};

} // namespace vdist::tensor
