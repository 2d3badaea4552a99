// kernels/collective/group_state.hpp — what a rank of a group knows and keeps: plain values that live in device memory or
// travel to kernels by value.
#pragma once

#include "kernels/collective/exchange_layout.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::kernels {

/// What a failed rank knows; 0 as a word: no failure.
enum class group_fault : std::uint8_t { none = 0, aborted = 1, late = 2 };

/// Which collective; for messages.
enum class group_operation : std::uint8_t {
  none = 0,
  all_reduce,
  all_gather,
  broadcast,
  barrier,
  send,
  recv
};

struct fault_record {
  group_fault fault = group_fault::none;
  group_operation operation = group_operation::none;
  std::int32_t peer = 0; // waited for
  std::uint32_t sequence = 0;

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::uint64_t packed() const {
    return static_cast<std::uint64_t>(sequence) << 32U | static_cast<std::uint64_t>(peer) << 16U
           | static_cast<std::uint64_t>(operation) << 8U | static_cast<std::uint64_t>(fault);
  }

  [[nodiscard]] static constexpr fault_record unpack(std::uint64_t word) {
    return {static_cast<group_fault>(word & 0xffU),
            static_cast<group_operation>(word >> 8U & 0xffU),
            static_cast<std::int32_t>(word >> 16U & 0xffffU),
            static_cast<std::uint32_t>(word >> 32U)};
  }
};

/// What a rank says while it waits for another one (P-5): again and again, so that a record which stays the same says
/// nothing. 0 as a word: it never waited long.
struct wait_record {
  std::uint16_t beat = 0; // another one with every record
  group_operation operation = group_operation::none;
  std::uint8_t peer = 0; // waited for
  std::uint32_t sequence = 0;

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::uint64_t packed() const {
    return static_cast<std::uint64_t>(sequence) << 32U | static_cast<std::uint64_t>(peer) << 24U
           | static_cast<std::uint64_t>(operation) << 16U | beat;
  }

  [[nodiscard]] static constexpr wait_record unpack(std::uint64_t word) {
    return {static_cast<std::uint16_t>(word & 0xffffU),
            static_cast<group_operation>(word >> 16U & 0xffU),
            static_cast<std::uint8_t>(word >> 24U & 0xffU),
            static_cast<std::uint32_t>(word >> 32U)};
  }
};

/// Exchanges that a lane has made in this epoch; the low halves are their sequences.
struct lane_counters {
  std::uint64_t words = 0;
  std::uint64_t bulk = 0;
};

/// In the rank's own device memory; begins anew with every epoch.
struct group_state {
  std::uint32_t epoch = 0;
  std::uint32_t reserved = 0;
  std::uint64_t fault = 0; // a packed fault_record
  std::uint64_t beat = 0;  // of the last wait_record, in units of wait_beat_ns
  lane_counters lanes[lanes_max];
};

/// What the kernels of one rank know of their group: plain values, copied into launches and graphs.
struct group_view {
  std::byte* regions[group_ranks_max] =
      {}; // exchange regions by rank, as this device addresses them
  group_state* state = nullptr;
  const std::uint32_t* fence = nullptr; // device memory; never falls
  std::uint64_t* report = nullptr;      // host memory that the device writes; the first fault
  std::uint64_t* waiting = nullptr; // host memory that the device writes; the newest wait_record
  std::uint64_t wait_ns = 0;        // bound of one wait
  exchange_layout layout;
  std::int32_t rank = 0;
  bool has_own_device = false; // no other rank of the group is on this device
};

/// Who has waited as long says so, and again whenever as much time has passed: a wait of the usual length is silent.
inline constexpr std::uint64_t wait_told_ns = 2'000'000;
inline constexpr std::uint64_t wait_beat_ns =
    1'048'576; // a shift; records of one rank come this often

inline constexpr std::uint32_t tag_sequence_bits = 20;
inline constexpr std::uint32_t refill_rounds = std::uint32_t{1} << 18U; // P-2

[[nodiscard]] VDIST_COLLECTIVE constexpr std::uint32_t tag_of(std::uint32_t epoch,
                                                              std::uint32_t sequence) {
  return (epoch / exchange_banks + 1) << tag_sequence_bits
         | (sequence & ((std::uint32_t{1} << tag_sequence_bits) - 1));
}

/// Whether a sender fills the whole slot in this round (P-2): once per half.
[[nodiscard]] VDIST_COLLECTIVE constexpr bool is_refill(std::uint32_t sequence) {
  return sequence % refill_rounds < 2;
}

[[nodiscard]] VDIST_COLLECTIVE constexpr bool
has_come(std::uint64_t flag, std::uint32_t epoch, std::uint32_t sequence) {
  return static_cast<std::uint32_t>(flag >> 32U) == epoch
         && static_cast<std::int32_t>(static_cast<std::uint32_t>(flag) - sequence) >= 0;
}

} // namespace vdist::kernels
