// transport/tensor/shared_pipe.hpp — a pipe over memory that both ends map (see communicator.hpp).
// One lane of chunk_lane.hpp with a head in front. Messages larger than a slot travel as several
// chunks.
#pragma once

#include "transport/frame/wait_policy.hpp"
#include "transport/tensor/communicator.hpp"

#include <chrono>
#include <memory>

namespace vdist::tensor {

enum class pipe_end : std::uint8_t { sender, receiver };

[[nodiscard]] std::size_t pipe_bytes(std::uint32_t slots, std::size_t slot_floats);

struct shared_pipe_settings {
  pipe_end end = pipe_end::sender;
  std::uint32_t slots = 4;                  // chunks under way at most; the same on both ends
  std::size_t slot_floats = 0;              // floats of one chunk; the same on both ends
  std::chrono::milliseconds timeout{10000}; // of each operation
  const frame::fence* stop = nullptr;       // borrowed, outlives the pipe; nullptr: none
};

/// Joins the pipe whose region is `region` (64-byte aligned, zero-filled before the first end
/// joined, at least pipe_bytes()). The region is borrowed and outlives the pipe. Call start_epoch()
/// before the first operation. Error: invalid_argument, when the region and the settings do not
/// fit.
[[nodiscard]] result<std::unique_ptr<pipe>> make_shared_pipe(std::span<std::byte> region,
                                                             const shared_pipe_settings& settings,
                                                             const frame::wait_policy& waits);

} // namespace vdist::tensor
