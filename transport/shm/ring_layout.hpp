// transport/shm/ring_layout.hpp — the bytes of a ring, and typed access to them: one header, one
// word per reader's place, the slots. Internal to transport/shm and its tests; see shm_ring.hpp.
//
// Everything in the memory is an atomic word, a bell, or payload that is copied by atomic words
// (word_copy.hpp); there are offsets only, so processes may map it at different addresses. Other
// processes may write any byte at any time: a word is loaded once, checked, then used.
// L-1 A stamp is {generation, position} in one word, changed by compare-and-swap from what its
//     owner last wrote. Whoever takes a place or the head over raises the generation, so an owner
//     that has been replaced notices at its next step and changes nothing.
// L-2 The shape is copied and checked when the ring is opened and never read again.
#pragma once

#include "transport/frame/bell.hpp"
#include "transport/frame/envelope.hpp"

#include "runtime/base/result.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace vdist::shm {

/// Size of a ring; the same for everybody who opens it.
struct ring_shape {
  std::uint32_t readers_max = 1;                   // places; 1 to 256
  std::uint32_t slots = 16;                        // 2 to 65536
  std::size_t slot_bytes = std::size_t{64} << 10U; // multiple of 64, from 256 to 1 GiB
  frame::frame_limits limits;                      // body_bytes_max: at most 1 GiB
};

/// Bytes of memory that a ring of a legal shape needs.
[[nodiscard]] std::size_t ring_bytes(const ring_shape& shape) noexcept;

/// Makes a ring of zero-filled memory, aligned to 64 bytes. All places are reserved: the writer
/// waits for their readers from the first frame on, so that none misses any, however late it opens.
/// Error: invalid_argument (shape, alignment, memory too small or formatted before).
[[nodiscard]] result<void> format_ring(std::span<std::byte> memory, const ring_shape& shape);

inline constexpr std::size_t line_bytes = 64;
inline constexpr std::uint64_t ring_magic = 0x474e495254534456; // "VDSTRING"
inline constexpr std::uint32_t ring_version = 1;

/// L-1. A place: an odd generation has a reader, position is its cursor (slots read). The head: the
/// writer's generation and the number of slots published.
struct stamp {
  std::uint16_t generation = 0;
  std::uint64_t position = 0; // below 2^48

  static constexpr unsigned position_bits = 48;

  [[nodiscard]] constexpr std::uint64_t packed() const {
    return std::uint64_t{generation} << position_bits | position;
  }

  static constexpr stamp unpack(std::uint64_t word) {
    return {static_cast<std::uint16_t>(word >> position_bits),
            word & ((std::uint64_t{1} << position_bits) - 1)};
  }

  [[nodiscard]] constexpr bool is_attached() const { return generation % 2 == 1; }

  /// The stamp whose generation is `steps` later.
  [[nodiscard]] constexpr stamp later(unsigned steps) const {
    return {static_cast<std::uint16_t>(generation + steps), position};
  }

  constexpr bool operator==(const stamp&) const = default;
};

/// Generation of a place that is reserved and has never been opened.
inline constexpr std::uint16_t reserved_generation = 1;
/// A place or head with a higher generation cannot be opened any more: generations never wrap.
inline constexpr std::uint16_t generation_max = 0xfff0;
/// A position beyond it was not counted up by anybody: 2^47 slots are years.
inline constexpr std::uint64_t position_max = std::uint64_t{1} << 47U;

struct alignas(line_bytes) ring_header {
  std::atomic<std::uint64_t> magic{0}; // set last
  std::atomic<std::uint32_t> version{0};
  std::atomic<std::uint32_t> readers_max{0};
  std::atomic<std::uint32_t> slots{0};
  std::atomic<std::uint32_t> body_bytes_max{0};
  std::atomic<std::uint64_t> slot_bytes{0};
  alignas(line_bytes) std::atomic<std::uint64_t> head{0}; // a stamp
  alignas(line_bytes) std::atomic<std::uint32_t> is_closed{0};
  std::atomic<std::uint32_t> departures{0}; // rises after a place has lost its reader
  frame::bell data;                         // rung at publication, close and departure
  frame::bell space;                        // rung when the writer may go on
};

struct alignas(line_bytes) reader_place {
  std::atomic<std::uint64_t> word{0}; // a stamp
};

/// In front of every slot's payload.
struct slot_header {
  std::atomic<std::uint64_t> chunk{0};       // flags << 32 | bytes of payload in this slot
  std::atomic<std::uint64_t> frame_bytes{0}; // of the whole frame
  std::atomic<std::uint64_t> sequence{0};    // of the frame; a successor of the writer goes on here
  std::uint64_t reserved = 0;
};

inline constexpr std::uint32_t chunk_first = 1;
inline constexpr std::uint32_t chunk_last = 2;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::is_standard_layout_v<ring_header> && sizeof(ring_header) == 5 * line_bytes);
static_assert(sizeof(reader_place) == line_bytes && sizeof(slot_header) == 32);

/// A private copy of a slot's header.
struct chunk_info {
  std::uint32_t bytes = 0;
  std::uint32_t flags = 0;
  std::uint64_t frame_bytes = 0;
  std::uint64_t sequence = 0;

  [[nodiscard]] bool is_first() const { return (flags & chunk_first) != 0; }

  [[nodiscard]] bool is_last() const { return (flags & chunk_last) != 0; }
};

/// A ring whose header was found good. Borrows the memory; copies are equal.
class ring_memory {
public:
  /// Error: corrupt (no ring of this version, impossible shape, more than the memory holds),
  /// invalid_argument (alignment).
  [[nodiscard]] static result<ring_memory> open(std::span<std::byte> memory);

  [[nodiscard]] const ring_shape& shape() const noexcept { return shape_; }

  [[nodiscard]] ring_header& header() const noexcept {
    return *reinterpret_cast<ring_header*>(base_);
  }

  /// `index` is below readers_max.
  [[nodiscard]] std::atomic<std::uint64_t>& place(std::uint32_t index) const noexcept {
    return reinterpret_cast<reader_place*>(base_ + sizeof(ring_header))[index].word;
  }

  /// Sequentially consistent: R-2 in shm_ring.hpp needs one order of heads and places.
  [[nodiscard]] stamp head() const noexcept { return stamp::unpack(header().head.load()); }

  [[nodiscard]] std::size_t payload_max() const noexcept {
    return shape_.slot_bytes - sizeof(slot_header);
  }

  /// Payload of the slot at any position; payload_max() bytes.
  [[nodiscard]] std::byte* payload(std::uint64_t position) const noexcept {
    return slot(position) + sizeof(slot_header);
  }

  /// What the slot's header says; nothing of it is checked.
  [[nodiscard]] chunk_info load_chunk(std::uint64_t position) const noexcept;
  void store_chunk(std::uint64_t position, const chunk_info& chunk) const noexcept;

private:
  ring_memory(std::byte* base, const ring_shape& shape) : base_(base), shape_(shape) {}

  [[nodiscard]] std::byte* slot(std::uint64_t position) const noexcept {
    return base_ + sizeof(ring_header) + shape_.readers_max * sizeof(reader_place)
           + position % shape_.slots * shape_.slot_bytes;
  }

  std::byte* base_;
  ring_shape shape_;
};

} // namespace vdist::shm
