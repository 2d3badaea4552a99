#include "transport/shm/ring_layout.hpp"

#include <fmt/format.h>
#include <new>

namespace vdist::shm {

namespace {

constexpr std::uint32_t readers_limit = 256;
constexpr std::uint32_t slots_limit = 65536;
constexpr std::size_t slot_bytes_min = 256; // an envelope fits
constexpr std::size_t slot_bytes_limit = std::size_t{1} << 30U;
constexpr std::uint32_t body_bytes_limit = 1U << 30U;

bool is_legal(const ring_shape& s) {
  return s.readers_max >= 1 && s.readers_max <= readers_limit && s.slots >= 2
         && s.slots <= slots_limit && s.slot_bytes >= slot_bytes_min
         && s.slot_bytes <= slot_bytes_limit && s.slot_bytes % line_bytes == 0
         && s.limits.body_bytes_max <= body_bytes_limit;
}

std::string to_string(const ring_shape& s) {
  return fmt::format("readers_max={} slots={} slot_bytes={} body_bytes_max={}",
                     s.readers_max,
                     s.slots,
                     s.slot_bytes,
                     s.limits.body_bytes_max);
}

bool is_aligned(std::span<const std::byte> memory) {
  return reinterpret_cast<std::uintptr_t>(memory.data()) % line_bytes == 0;
}

slot_header& header_of(std::byte* slot) {
  return *reinterpret_cast<slot_header*>(slot);
}

constexpr auto relaxed = std::memory_order_relaxed;

} // namespace

std::size_t ring_bytes(const ring_shape& shape) noexcept {
  return sizeof(ring_header) + shape.readers_max * sizeof(reader_place)
         + shape.slots * shape.slot_bytes;
}

result<void> format_ring(std::span<std::byte> memory, const ring_shape& shape) {
  if (!is_legal(shape)) {
    return fail(errc::invalid_argument,
                fmt::format("ring: shape is outside its legal range ({})", to_string(shape)));
  }
  if (!is_aligned(memory) || memory.size() < ring_bytes(shape)) {
    return fail(errc::invalid_argument,
                fmt::format("ring: memory is not aligned or too small (bytes={} needed={})",
                            memory.size(),
                            ring_bytes(shape)));
  }
  if (reinterpret_cast<const ring_header*>(memory.data())->magic.load(relaxed) != 0) {
    return fail(errc::invalid_argument, "ring: memory is not zero-filled");
  }
  auto* header = new (memory.data()) ring_header;
  header->version.store(ring_version, relaxed);
  header->readers_max.store(shape.readers_max, relaxed);
  header->slots.store(shape.slots, relaxed);
  header->body_bytes_max.store(shape.limits.body_bytes_max, relaxed);
  header->slot_bytes.store(shape.slot_bytes, relaxed);
  for (std::uint32_t i = 0; i < shape.readers_max; ++i) {
    auto* place = new (memory.data() + sizeof(ring_header) + i * sizeof(reader_place)) reader_place;
    place->word.store(stamp{reserved_generation, 0}.packed(), relaxed);
  }
  header->magic.store(ring_magic, std::memory_order_release);
  return {};
}

result<ring_memory> ring_memory::open(std::span<std::byte> memory) {
  if (!is_aligned(memory)) {
    return fail(errc::invalid_argument, "ring: memory is not aligned");
  }
  if (memory.size() < sizeof(ring_header)) {
    return fail(errc::corrupt,
                fmt::format("ring: memory is shorter than a header (bytes={})", memory.size()));
  }
  const auto& header = *reinterpret_cast<const ring_header*>(memory.data());
  const auto magic = header.magic.load(std::memory_order_acquire);
  const auto version = header.version.load(relaxed);
  if (magic != ring_magic || version != ring_version) {
    return fail(errc::corrupt,
                fmt::format("ring: no ring of this version (magic={:x} version={} expected={})",
                            magic,
                            version,
                            ring_version));
  }
  const ring_shape shape{.readers_max = header.readers_max.load(relaxed),
                         .slots = header.slots.load(relaxed),
                         .slot_bytes = header.slot_bytes.load(relaxed),
                         .limits = {.body_bytes_max = header.body_bytes_max.load(relaxed)}};
  if (!is_legal(shape) || ring_bytes(shape) > memory.size()) {
    return fail(
        errc::corrupt,
        fmt::format("ring: impossible shape ({} bytes={})", to_string(shape), memory.size()));
  }
  return ring_memory(memory.data(), shape);
}

chunk_info ring_memory::load_chunk(std::uint64_t position) const noexcept {
  const auto& head = header_of(slot(position));
  const auto chunk = head.chunk.load(relaxed);
  return {.bytes = static_cast<std::uint32_t>(chunk),
          .flags = static_cast<std::uint32_t>(chunk >> 32U),
          .frame_bytes = head.frame_bytes.load(relaxed),
          .sequence = head.sequence.load(relaxed)};
}

void ring_memory::store_chunk(std::uint64_t position, const chunk_info& chunk) const noexcept {
  auto& head = header_of(slot(position));
  head.chunk.store(std::uint64_t{chunk.flags} << 32U | chunk.bytes, relaxed);
  head.frame_bytes.store(chunk.frame_bytes, relaxed);
  head.sequence.store(chunk.sequence, relaxed);
}

} // namespace vdist::shm
