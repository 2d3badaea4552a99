// tests/transport/shm/tearing_writer.hpp — the negative control of the crash tests: a writer that
// publishes a slot before its bytes are there. Tests that do not notice it prove nothing.
#pragma once

#include "tests/transport/shm/ring_fixture.hpp"

#include "transport/shm/ring_layout.hpp"

#include <algorithm>
#include <cstring>

namespace vdist::testing {

/// Writes one frame that fits a slot, in the wrong order. False: there was no room.
inline bool write_torn(const shm::ring_memory& memory,
                       frame::envelope header,
                       std::span<const std::byte> body) {
  const auto head = memory.head();
  for (std::uint32_t i = 0; i < memory.shape().readers_max; ++i) {
    const auto place = shm::stamp::unpack(memory.place(i).load());
    if (place.is_attached() && place.position + memory.shape().slots <= head.position) {
      return false;
    }
  }
  header.sequence = head.position == 0 ? 1 : memory.load_chunk(head.position - 1).sequence + 1;
  static_cast<void>(frame::seal(header, body, memory.shape().limits));
  std::vector<std::byte> bytes(frame::frame_bytes(header));
  frame::encode(header, body, bytes);
  memory.header().head.store(shm::stamp{head.generation, head.position + 1}.packed());
  memory.store_chunk(head.position,
                     {.bytes = static_cast<std::uint32_t>(bytes.size()),
                      .flags = shm::chunk_first | shm::chunk_last,
                      .frame_bytes = bytes.size(),
                      .sequence = header.sequence});
  auto* words = reinterpret_cast<std::uint64_t*>(memory.payload(head.position));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof *words) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
    std::atomic_ref(*words++).store(word, std::memory_order_relaxed);
  }
  return true;
}

} // namespace vdist::testing
