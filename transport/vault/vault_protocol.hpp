// transport/vault/vault_protocol.hpp — what a client and the vault's process say to each other, one
// message of a message_socket each. Both run on one host and come from one build: fixed-width
// structs in the host's byte order, no padding.
// Client → server: request; server → client: exactly one reply with the request's sequence, followed
// by the error's text if there is one. A reply to map carries the region's memory as its one
// descriptor and says where that memory is. Parent → server: a request add_client whose one
// descriptor is the server's end of a new pair; it has no reply. A parent that keeps what the vault has (vault_keeper.hpp)
// says so with its first message, a record, and then all that passes between the two is records.
// B-1 every byte is checked before it is believed: magic, version, sizes, ranges, reserved zeros.
// B-2 a client that breaks B-1, or sends a descriptor, is disconnected. B-3 a reply of an older
// sequence belongs to a request that ran into its deadline and is dropped. B-4 a reply about memory of
// another place than the one that was asked for is corrupt (D-3). B-5 a server that takes over from another tells each
// client (reply_ask_again); what has not been answered is asked again, with its sequence, and is done once: a server
// drops the second copy of a request, and knows what its predecessor has done.
#pragma once

#include "transport/vault/device_memory.hpp"
#include "transport/vault/vault.hpp"

#include <array>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace vdist::vault {

inline constexpr std::uint32_t request_magic = 0x76'61'75'71; // "vauq"
inline constexpr std::uint32_t reply_magic = 0x76'61'75'72;   // "vaur"
inline constexpr std::uint32_t record_magic = 0x76'61'75'6b;  // "vauk"
inline constexpr std::uint16_t protocol_version = 3;
/// Longest error text of a reply; the rest is cut.
inline constexpr std::size_t error_text_bytes_max = 1024;

enum class operation : std::uint16_t {
  map = 1,
  mark_ready = 2,
  ready_hash = 3,
  release = 4,
  usage = 5,
  add_client = 6, // on the control socket only
  zeroed = 7,     // the client has filled the device's region that was new to it with zeros
};

struct request_message {
  std::uint32_t magic = request_magic;
  std::uint16_t version = protocol_version;
  operation wanted = operation::usage;
  std::uint64_t sequence = 0;
  std::int32_t rank = 0; // rank, index, kind: the key
  std::uint32_t index = 0;
  region_kind kind = region_kind::custom;
  std::array<std::uint8_t, 7> reserved{};
  std::uint64_t bytes = 0;                  // map
  std::uint64_t content_hash = 0;           // mark_ready
  std::int32_t device = host_memory.device; // map: where the region shall be
  std::uint32_t reserved_end = 0;
};

static_assert(sizeof(request_message) == 56
              && std::has_unique_object_representations_v<request_message>);

inline constexpr std::uint32_t reply_is_new = 1; // map; on a device: to be filled with zeros
inline constexpr std::uint32_t reply_has_ready_hash = 2; // map, ready_hash
/// A message of its own, with sequence 0: another server has taken over (B-5).
inline constexpr std::uint32_t reply_ask_again = 4;
inline constexpr std::uint32_t reply_flags_all =
    reply_is_new | reply_has_ready_hash | reply_ask_again;

struct reply_message {
  std::uint32_t magic = reply_magic;
  std::uint16_t version = protocol_version;
  errc code = errc::ok;
  std::uint64_t sequence = 0;
  std::uint64_t region_id = 0; // map: never reused, so a region made anew is told from the old one
  std::uint64_t address = 0;   // map: in the window of the region's place
  std::uint64_t ready_hash = 0;
  std::uint64_t total_bytes = 0; // of the whole vault, in every reply
  std::uint64_t limit_bytes = 0; // of host memory
  std::uint32_t flags = 0;
  std::uint32_t text_bytes = 0;
  std::int32_t device = host_memory.device; // map: where the region is
  std::uint32_t reserved_end = 0;
};

static_assert(sizeof(reply_message) == 72
              && std::has_unique_object_representations_v<reply_message>);

/// What a record is about. From the parent: begin, then all regions, then all clients, end; later new clients. From the
/// vault: begun when it has taken all of that over; later a record of whatever changes, before anybody hears of it.
enum class record_kind : std::uint16_t {
  begin =
      1, // next region_id; address: where the search for host memory goes on, bytes: the same for devices
  end = 2,   // nothing else
  begun = 3, // nothing else
  region =
      4, // all of it as it is now; its descriptor, from the vault with the first record of a region only
  released = 5, // key and region_id
  client = 6,   // client, sequence of the last change that it caused; the server's end of its pair
  client_gone = 7, // client
};

/// Fields that a kind does not name are zero.
struct record_message {
  std::uint32_t magic = record_magic;
  std::uint16_t version = protocol_version;
  record_kind what = record_kind::begin;
  std::uint64_t client = 0; // of region, released: who has caused the change
  std::uint64_t sequence = 0;
  std::uint64_t region_id = 0;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0; // as asked for
  std::uint64_t ready_hash = 0;
  std::uint64_t zeroing_client = 0; // who has yet to fill it with zeros; 0: nobody
  std::int32_t rank = 0;            // rank, index, kind: the key
  std::uint32_t index = 0;
  region_kind kind = region_kind::custom;
  std::uint8_t flag = 0; // region: it has a ready hash; client: another server has served it
  std::array<std::uint8_t, 2> reserved{};
  std::int32_t device = host_memory.device;
};

static_assert(sizeof(record_message) == 80
              && std::has_unique_object_representations_v<record_message>);

// Where regions lie, in every process. Far from where Linux puts programs, heaps, libraries and
// stacks (below 0x1000'0000'0000 or above 0x5500'0000'0000), and in the application's part of the
// address space under AddressSanitizer too. ThreadSanitizer keeps nearly everything for its shadow;
// what it leaves to the application and nobody uses is the part below position-independent programs.
// Devices' regions have a window of their own: host and device share one address space. Each begins at a multiple of the
// granule, and the rest of its last granule is left free: drivers reserve no smaller ranges at a given address.
inline constexpr std::uint64_t device_address_granule = std::uint64_t{64} << 20U;
#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t region_window_base = 0x5500'0000'0000;
inline constexpr std::uint64_t region_window_bytes = 0x0040'0000'0000; // 256 GiB
inline constexpr std::uint64_t device_window_base = 0x5540'0000'0000;
inline constexpr std::uint64_t device_window_bytes = 0x0015'0000'0000; // 84 GiB
#else
inline constexpr std::uint64_t region_window_base = 0x2000'0000'0000;
inline constexpr std::uint64_t region_window_bytes = 0x2000'0000'0000; // 32 TiB
inline constexpr std::uint64_t device_window_base = 0x1100'0000'0000;
inline constexpr std::uint64_t device_window_bytes = 0x0f00'0000'0000; // 15 TiB
#endif

[[nodiscard]] region_key key_of(const request_message& request);
[[nodiscard]] memory_place place_of(const request_message& request);
[[nodiscard]] memory_place place_of(const reply_message& reply);

[[nodiscard]] region_key key_of(const record_message& record);
[[nodiscard]] memory_place place_of(const record_message& record);

/// Error: corrupt (B-1).
[[nodiscard]] result<request_message> parse_request(std::span<const std::byte> bytes);

/// Error: corrupt (B-1).
[[nodiscard]] result<record_message> parse_record(std::span<const std::byte> bytes);

[[nodiscard]] std::vector<std::byte> encode_reply(reply_message reply, std::string_view text);

struct parsed_reply {
  reply_message head;
  std::string text; // of the error, else empty
};

/// Error: corrupt (B-1).
[[nodiscard]] result<parsed_reply> parse_reply(std::span<const std::byte> bytes);

} // namespace vdist::vault
