// transport/frame/envelope.hpp — the fixed 64 bytes in front of every message, on every channel.
// A frame is an envelope followed by `length` bytes of body (msgpack). Bytes are little-endian.
//
// E-1 crc32c covers the envelope with crc32c = 0, then the body.
// E-2 parse() believes nothing before magic, length and checksum fit; its error is errc::corrupt.
// E-3 The envelope never changes its size or the place of its first 16 bytes; new fields take
//     `reserved`, which older builds write as 0.
// Who may be heard (cluster, epoch, incarnation, sequence) is decided after parse() by frame_gate.
#pragma once

#include "runtime/base/result.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace vdist::frame {

inline constexpr std::uint32_t envelope_magic = 0x54534456; // "VDST"
/// Version of the envelope's own layout, not of the protocol it carries.
inline constexpr std::uint16_t envelope_layout = 1;
/// Sender of frames that no worker wrote: executor, stage, supervisor.
inline constexpr std::int32_t sender_control = -1;

/// Sequence, length and crc32c are filled by the channel's writer; the rest by its caller.
struct envelope {
  std::uint32_t magic = envelope_magic;
  std::uint16_t layout = envelope_layout;
  std::uint16_t protocol = 0;           // which protocol header the body follows
  std::uint16_t version = 0;            // version of that protocol
  std::uint16_t kind = 0;               // which message of that protocol
  std::int32_t sender = sender_control; // global rank of the worker that wrote it
  std::uint64_t cluster = 0;            // id of the cluster, random per start
  std::uint32_t incarnation = 0;        // of the sender
  std::int32_t group = 0;               // replica
  std::uint32_t epoch = 0;              // of that replica
  std::uint32_t length = 0;             // bytes of body
  std::uint64_t sequence = 0;           // rises by one per frame of a channel, from 1
  std::int64_t deadline_ns = 0; // time left when the frame was written, ns; 0: none. Relative,
                                // because monotonic clocks of two hosts have nothing in common
  std::uint32_t reserved = 0;
  std::uint32_t crc32c = 0;
};

static_assert(sizeof(envelope) == 64, "sent as bytes: fixed size");
static_assert(std::has_unique_object_representations_v<envelope>, "sent as bytes: no padding");
static_assert(std::is_trivially_copyable_v<envelope>);
static_assert(std::endian::native == std::endian::little, "frames are little-endian memory");

/// Bounds that a reader or writer enforces.
struct frame_limits {
  std::uint32_t body_bytes_max = 64U << 20U; // bytes
};

/// A frame inside somebody else's memory; the owner says how long it is valid.
struct frame_view {
  envelope header;                 // a copy
  std::span<const std::byte> body; // borrowed
};

/// Fills length and crc32c for this body. Error: invalid_argument when the body exceeds the limit.
[[nodiscard]] result<void>
seal(envelope& header, std::span<const std::byte> body, const frame_limits& limits);

/// Writes a sealed header and its body to `out`, which holds at least frame_bytes(header).
void encode(const envelope& header, std::span<const std::byte> body, std::span<std::byte> out);

[[nodiscard]] constexpr std::size_t frame_bytes(const envelope& header) {
  return sizeof(envelope) + header.length;
}

/// Why a frame was not delivered. Numbers index drop_counters.
enum class drop_reason : std::uint8_t {
  too_short,         // fewer bytes than an envelope, or than it promises
  bad_magic,         // magic or layout
  too_long,          // length beyond the limit, or bytes behind the body
  bad_checksum,      // E-1
  foreign,           // other cluster, protocol, version, group or sender
  stale_epoch,       // of the past
  stale_incarnation, // of a sender that has been replaced
  duplicate,         // sequence already seen
  gap,               // frames before this one were lost
  torn,              // the writer gave up in the middle of it
};
inline constexpr std::size_t drop_reasons = 10;

[[nodiscard]] const char* to_string(drop_reason reason) noexcept;

/// Checks E-2 and returns a view into `bytes`. `why` (optional) receives the reason of a refusal.
[[nodiscard]] result<frame_view>
parse(std::span<const std::byte> bytes, const frame_limits& limits, drop_reason* why = nullptr);

} // namespace vdist::frame
