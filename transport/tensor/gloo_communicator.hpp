// transport/tensor/gloo_communicator.hpp — collectives between processes over TCP, on Gloo's
// connections: for ranks that share no memory, and as the yardstick of those that do.
//
// Every operation is one or two rounds of messages from each rank to each other one: nothing is
// gained by rings or trees for the few ranks of a group, and parts arrive unsummed, so sums are made
// here in the order of T-2 and have the bits of every other communicator.
//   all_reduce_sum: up to one_shot_floats_max everybody gets everything and sums it; above it
//   everybody sums its 1/size share, then collects the other shares.
// Epochs (T-3): each has connections and addresses of its own. start_epoch() closes the old ones and
// listens; the first operation waits for the peers' addresses, connects, and compares a greeting
// {epoch, rank} with each of them, so a late process of a past epoch is refused.
// Failures: when a rank fails, times out or dies, its connections end and the others get closed, or
// aborted when the epoch is over; a raised fence ends a wait at once.
//
// SIGPIPE need not be ignored: it is blocked while Gloo writes. Only among trusted hosts: Gloo
// neither checks what it reads nor hides what it writes, and a peer that breaks T-1 with a longer
// message than is expected ends this process.
// Threads: one of Gloo, awake 100 times a second, and one that watches the fence. Not fork-safe.
// Cost: about 100 µs per round on one host, all of it wake-ups; a new epoch some 10 ms per peer.
#pragma once

#include "transport/frame/wait_policy.hpp"
#include "transport/tensor/communicator.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace vdist::tensor {

/// Bytes of the region in which `size` ranks leave their addresses.
[[nodiscard]] std::size_t gloo_rendezvous_bytes(std::int32_t size);

struct gloo_communicator_settings {
  std::int32_t rank = 0;
  std::int32_t size = 1;
  std::string address = "127.0.0.1"; // numeric, of the interface to listen on
  std::size_t one_shot_floats_max =
      16384; // all_reduce_sum switches above it; the same on all ranks
  std::chrono::milliseconds timeout{
      10000};                         // of each operation; the first of an epoch may take twice
  const frame::fence* stop = nullptr; // borrowed, outlives the communicator; nullptr: none
};

/// Joins the group that meets in `rendezvous` (64-byte aligned, zero-filled before the first member
/// joined, gloo_rendezvous_bytes(size) that all ranks map). The region is borrowed and outlives the
/// communicator. Call start_epoch() before the first operation; it may also fail with io_failed.
/// Error: invalid_argument.
[[nodiscard]] result<std::unique_ptr<communicator>>
make_gloo_communicator(std::span<std::byte> rendezvous,
                       const gloo_communicator_settings& settings,
                       const frame::wait_policy& waits);

} // namespace vdist::tensor
