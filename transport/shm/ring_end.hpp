// transport/shm/ring_end.hpp — what both ends of a ring have in common: the memory, its links, and
// the two things that any of them may do, detach a place and close. Internal to transport/shm.
#pragma once

#include "transport/shm/shm_ring.hpp"

#include <optional>

namespace vdist::shm {

struct ring_end {
  ring_memory memory;
  ring_links links;
  frame::wait_policy waits;

  [[nodiscard]] bool is_closed() const noexcept { return memory.header().is_closed.load() != 0; }

  void wake_readers() const noexcept;

  void close() const noexcept;

  /// Ends the attachment of a place; with `only`, if it still is that generation.
  void detach(std::uint32_t index, std::optional<std::uint16_t> only) const noexcept;
};

/// See shm_ring::open_writer() and shm_ring::open_reader().
[[nodiscard]] result<std::unique_ptr<frame::frame_writer>> make_ring_writer(const ring_end& end);
[[nodiscard]] result<std::unique_ptr<frame::frame_reader>>
make_ring_reader(const ring_end& end, std::uint32_t index, const frame::expectation& expected);

} // namespace vdist::shm
