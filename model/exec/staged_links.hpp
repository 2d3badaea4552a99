// model/exec/staged_links.hpp — the tensor plane of a device whose memory the ranks cannot reach directly: every operation
// goes through staging memory and the ranks' communicator in host memory. Slow, and right wherever the host's is: the sums
// have the bits of T-2 (transport/tensor/communicator.hpp). Data is device memory of the queue's device; each operation
// waits for the device, observed like every wait of a step (host_wait.hpp).
// One thread per object; the inner communicator, the queue and the wait outlive it.
#pragma once

#include "model/exec/device_memory.hpp"
#include "model/exec/host_wait.hpp"

#include "transport/tensor/communicator.hpp"

#include "kernels/device_queue.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vdist::exec {

/// Staging memory that data passes through in pieces.
class staging_area {
public:
  /// Throws std::bad_alloc.
  staging_area(kernels::device_queue& queue, host_wait& wait);

  /// Copies [data, data + bytes) here and waits. bytes <= room().
  [[nodiscard]] result<std::byte*> fetch(const void* data, std::size_t bytes, std::size_t at = 0);
  /// Copies from here to device memory; need not wait: what comes next on the queue comes behind it.
  void put(void* data, std::size_t bytes, std::size_t at = 0);

  [[nodiscard]] std::byte* data() const { return memory_.data(); }

  /// Bytes.
  [[nodiscard]] static std::size_t room();

  /// Waits until the staging memory may be written by the host again.
  [[nodiscard]] result<void> wait() { return wait_.for_all(); }

private:
  kernels::device_queue& queue_;
  host_wait& wait_;
  device_memory memory_;
};

/// Null for null.
[[nodiscard]] std::unique_ptr<tensor::communicator>
stage_communicator(tensor::communicator* inner, kernels::device_queue& queue, host_wait& wait);

[[nodiscard]] std::unique_ptr<tensor::pipe>
stage_pipe(tensor::pipe* inner, kernels::device_queue& queue, host_wait& wait);

} // namespace vdist::exec
