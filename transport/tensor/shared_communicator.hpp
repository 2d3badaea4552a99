// transport/tensor/shared_communicator.hpp — collectives over memory that all ranks of a group map:
// threads of a process now, processes of a host later. The region holds only offsets, atomics and
// futex words; every rank may map it elsewhere.
//
// One exchange: rank r copies its part into its own slot, publishes its flag {epoch, sequence},
// waits until the flags of all ranks have reached that sequence, then reads everybody's slots.
// Slots are doubled: sequence s uses half s % 2. One wait per exchange is enough:
//   Rank A writes half s % 2 again in exchange s+2. It gets there only after its wait of exchange
//   s+1 has seen the flag of every rank B at s+1 or beyond; B publishes s+1 only after it has read
//   everything it wanted of exchange s. So nobody still reads what A overwrites. The argument needs
//   every rank to wait for all ranks in every exchange, which is why a broadcast does so too.
// Epochs: each has its own bank of slots (epoch % exchange_banks) and its own flag values, so a
// late writer of an older epoch hits neither the data nor the flags of the present one (T-3). A
// place in an epoch is claimed by compare-and-swap: a second incarnation in the same epoch is
// refused.
//
// all_reduce_sum: up to one_shot_floats_max one exchange, everybody sums everything; above it two:
// each rank sums its 1/size share and publishes it, everybody collects the shares.
// reduce_scatter_sum is the first half of that. More than slot_floats goes in chunks. The bits are
// the same in all cases (T-2).
// all_to_all(_v): a rank lays its parts end to end and shows that stream slot by slot, with a table
// of where each part begins in front of the first; everybody makes as many exchanges as the longest
// stream needs. Counts that do not fit together are found (corrupt).
// send, recv: a lane (chunk_lane.hpp) for every ordered pair of ranks; a sender is at most
// mail_slots chunks ahead.
// Cost, size n: one exchange is 1 copy, n reads and at most n-1 waits; nothing is allocated.
#pragma once

#include "transport/frame/wait_policy.hpp"
#include "transport/tensor/communicator.hpp"

#include <chrono>
#include <memory>

namespace vdist::tensor {

/// Chunks of one send under way between two ranks; each holds slot_floats / size floats, so that all
/// lanes together need as much memory as the slots.
inline constexpr std::uint32_t mail_slots = 2;

/// Bytes of the region for `size` ranks whose slots hold `max_floats` floats. Untouched banks cost
/// nothing when the memory is mapped lazily.
[[nodiscard]] std::size_t exchange_bytes(std::int32_t size, std::size_t max_floats);

struct shared_communicator_settings {
  std::int32_t rank = 0;
  std::int32_t size = 1;
  std::size_t slot_floats = 0; // max_floats of exchange_bytes(), >= size; the same on all ranks
  std::size_t one_shot_floats_max = 2048; // all_reduce_sum switches above it; the same on all ranks
  std::chrono::milliseconds timeout{10000}; // of each operation
  const frame::fence* stop = nullptr;       // borrowed, outlives the communicator; nullptr: none
};

/// Joins the group whose exchange region is `region` (64-byte aligned, zero-filled before the first
/// member joined, at least exchange_bytes(size, slot_floats)). The region is borrowed and outlives
/// the communicator. Call start_epoch() before the first operation.
/// Error: invalid_argument, when the region's shape and the settings do not fit.
[[nodiscard]] result<std::unique_ptr<communicator>>
make_shared_communicator(std::span<std::byte> region,
                         const shared_communicator_settings& settings,
                         const frame::wait_policy& waits);

} // namespace vdist::tensor
