// kernels/collective/exchange_layout.hpp — the memory through which the ranks of a group meet, and which way a sum takes.
// Pure functions of sizes, for host and device.
//
// A group's rank owns one exchange region in its device's memory, zero-filled once; all ranks map all regions. Data is
// pushed: a rank writes into the regions of others and reads its own. A region has a bank per epoch (epoch % banks), so
// that what a dead member still writes is far from what the present epoch reads. A bank holds, for each of the group's
// lanes (a lane is one block of every rank's kernel, independent of the other lanes):
//   flags   a 64-bit word per source rank, epoch << 32 | sequence
//   words   2 halves x source rank: 8 bytes each, 4 of data and 4 of tag, for small sums
//   bulk    2 halves x source rank: plain data behind the flags
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define VDIST_COLLECTIVE __host__ __device__ __forceinline__
#else
#define VDIST_COLLECTIVE inline
#endif

namespace vdist::kernels {

inline constexpr std::int32_t group_ranks_max = 8;
inline constexpr std::int32_t lanes_max =
    64; // blocks of one rank's kernel: spinning must never fill a device
inline constexpr std::int32_t word_lanes_max = 16; // of these with word slots: small sums only

/// Lanes of a large message: enough for the links, and few enough that also ranks that share a device all run at once.
[[nodiscard]] constexpr std::int32_t bulk_lanes_max(std::int32_t ranks) {
  return ranks > 4 ? lanes_max / 2 : lanes_max;
}

inline constexpr std::uint32_t exchange_banks = 8;
inline constexpr std::size_t flag_stride = 128; // bytes between flags: no two share a line
inline constexpr std::size_t unit_bytes =
    16; // data moves in units; a message's last one may be partly filled

/// Shape of a region; the same on all ranks of a group.
struct exchange_layout {
  std::int32_t ranks = 2;
  std::size_t word_units = 512;  // data units of one words slot; 0: none
  std::size_t bulk_units = 8192; // units of one bulk slot

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t word_slot_bytes() const {
    return word_units * 2 * unit_bytes;
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t bulk_slot_bytes() const {
    return bulk_units * unit_bytes;
  }

  /// Halves and sources of so many lanes.
  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t slots(std::int32_t lanes) const {
    return static_cast<std::size_t>(lanes) * 2 * static_cast<std::size_t>(ranks);
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t words_bytes() const {
    return slots(word_lanes_max) * word_slot_bytes();
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t
  slot_index(std::int32_t lane, std::uint32_t half, std::int32_t source) const {
    return (static_cast<std::size_t>(lane) * 2 + half) * static_cast<std::size_t>(ranks)
           + static_cast<std::size_t>(source);
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t flags_bytes() const {
    return static_cast<std::size_t>(lanes_max) * static_cast<std::size_t>(ranks) * flag_stride;
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t bank_bytes() const {
    return flags_bytes() + words_bytes() + slots(lanes_max) * bulk_slot_bytes();
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t bank_at(std::uint32_t epoch) const {
    return (epoch % exchange_banks) * bank_bytes();
  }

  // Places within a bank, in bytes.
  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t flag_at(std::int32_t lane,
                                                               std::int32_t source) const {
    return (static_cast<std::size_t>(lane) * static_cast<std::size_t>(ranks)
            + static_cast<std::size_t>(source))
           * flag_stride;
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t
  words_at(std::int32_t lane, std::uint32_t half, std::int32_t source) const {
    return flags_bytes() + slot_index(lane, half, source) * word_slot_bytes();
  }

  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t
  bulk_at(std::int32_t lane, std::uint32_t half, std::int32_t source) const {
    return flags_bytes() + words_bytes() + slot_index(lane, half, source) * bulk_slot_bytes();
  }

  /// Of the whole region.
  [[nodiscard]] VDIST_COLLECTIVE constexpr std::size_t region_bytes() const {
    return exchange_banks * bank_bytes();
  }
};

/// The layout of a tensor group: 136 MiB for 2 ranks, 144 for 4, 160 for 8.
[[nodiscard]] constexpr exchange_layout group_layout(std::int32_t ranks) {
  return {.ranks = ranks,
          .word_units = 512,
          .bulk_units = std::size_t{8192} / static_cast<std::size_t>(ranks)};
}

/// The layout of a pipe between two stages, 64 MiB: rank 0 sends, rank 1 receives.
[[nodiscard]] constexpr exchange_layout pipe_layout() {
  return {.ranks = 2, .word_units = 0, .bulk_units = 2048};
}

/// How a sum travels. The bits are the same in all cases.
enum class sum_path : std::uint8_t {
  words,    // everybody sends everything, a tag in every 8 bytes: one crossing
  one_shot, // everybody sends everything, then a flag: one crossing and a fence
  two_shot, // everybody sums one part and sends the sum on: two crossings, 2/ranks of the data
};

/// Extra bytes that a rank may send for the tags: measured on 2 x H200 (NVLink), words win up to 128 KB and lose from
/// 256 KB on; with more ranks it sends them to each.
inline constexpr std::size_t word_extra_bytes_max = std::size_t{128} << 10U;
/// Extra bytes that one_shot may send to save a crossing, 2 us at 400 GB/s: 512 KB at 4 ranks, 146 KB at 8.
inline constexpr std::size_t one_shot_extra_bytes_max = std::size_t{768} << 10U;

/// A pure function of its arguments: the same on every rank. Thresholds do not depend on the device; they are of NVLink,
/// and right within a few microseconds elsewhere.
[[nodiscard]] constexpr sum_path choose_sum_path(std::size_t bytes, std::int32_t ranks) {
  const auto n = static_cast<std::size_t>(ranks);
  if (bytes * (n - 1) <= word_extra_bytes_max) {
    return sum_path::words;
  }
  return bytes * (n - 1) * (n - 2) / n <= one_shot_extra_bytes_max ? sum_path::one_shot
                                                                   : sum_path::two_shot;
}

inline constexpr std::int32_t lane_threads_max = 512;

/// Lanes and threads of a message.
struct lane_shape {
  std::int32_t lanes = 1;
  std::int32_t threads = 32; // per lane, whole warps
};

/// One unit per thread, until all of `most` lanes are full. A pure function of the size.
[[nodiscard]] constexpr lane_shape choose_lanes(std::size_t units, std::int32_t most) {
  const std::size_t threads_max = lane_threads_max;
  const std::size_t wanted = (units + threads_max - 1) / threads_max;
  const auto lanes_most = static_cast<std::size_t>(most);
  const std::size_t lanes = wanted < 1 ? 1 : (wanted < lanes_most ? wanted : lanes_most);
  const std::size_t share = (units + lanes - 1) / lanes;
  const std::size_t threads = (share + 31) / 32 * 32;
  return {.lanes = static_cast<std::int32_t>(lanes),
          .threads = static_cast<std::int32_t>(
              threads < 32 ? 32 : (threads < threads_max ? threads : threads_max))};
}

/// Part `index` of `parts` of `units` units.
struct unit_range {
  std::size_t first = 0;
  std::size_t count = 0;
};

[[nodiscard]] VDIST_COLLECTIVE constexpr unit_range
part_of(std::size_t units, std::int32_t index, std::int32_t parts) {
  const auto i = static_cast<std::size_t>(index);
  const auto n = static_cast<std::size_t>(parts);
  const std::size_t first = units * i / n;
  return {first, units * (i + 1) / n - first};
}

} // namespace vdist::kernels
