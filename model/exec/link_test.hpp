// model/exec/link_test.hpp — whether data arrives over links between devices as it was sent. Drivers report peer access that
// hardware or virtual machines then do not keep (IOMMU, ACS): only data tells. Every rank of a group makes the same call.
#pragma once

#include "model/exec/device_memory.hpp"

#include "transport/tensor/communicator.hpp"

#include <chrono>
#include <span>

namespace vdist::exec {

class link_tester {
public:
  /// `rank` is global, `ranks_max` the largest group. All memory is taken here: while ranks wait for each other on a device,
  /// nobody may allocate. Throws std::bad_alloc.
  link_tester(kernels::device_queue& queue,
              std::int32_t rank,
              std::int32_t ranks_max,
              std::chrono::milliseconds deadline);

  // Data differs from epoch to epoch. Errors: io_failed (what came is not what was sent: names both ranks and what
  // helps), those of the links, internal (the device).

  /// Every way through memory that the group uses: each rank's own data at every other rank, and a sum.
  [[nodiscard]] result<void> test_group(tensor::communicator& group, epoch now);

  /// The two ends of a pipe. `sender` is a global rank.
  [[nodiscard]] result<void> test_sending(tensor::pipe& to, epoch now);
  [[nodiscard]] result<void> test_receiving(tensor::pipe& from, std::int32_t sender, epoch now);

private:
  [[nodiscard]] std::span<float> part(std::size_t index) const;
  void write_own(epoch now);
  [[nodiscard]] result<std::span<const float>> read(std::span<float> device);
  [[nodiscard]] result<void>
  check(std::span<const float> got, std::span<const float> sent, std::int32_t sender) const;
  [[nodiscard]] result<void> test_gather(tensor::communicator& group, epoch now);
  [[nodiscard]] result<void> test_sum(tensor::communicator& group, epoch now);

  kernels::device_queue& queue_;
  std::int32_t rank_;
  std::chrono::milliseconds deadline_;
  device_memory device_;  // a part of one's own, then one per rank
  device_memory staging_; // as large
};

} // namespace vdist::exec
