// runtime/kv/published_prefixes.hpp — which prefixes a replica's KV holds, for threads that only look: a set of the chained
// hashes of all published blocks (prefix_index.hpp).
// Why: the router asks on its own thread how much of a prompt a replica has, while the step thread, which owns the index, goes
// on publishing and evicting. Neither waits for the other, whatever becomes of it: no lock, no message that could be lost.
//
// B-1 Between two changes the set is exactly that of the index. A look that meets a change may miss a hash which that moves;
//     it never finds one that is not there.
// B-2 A hash is in the set as often as it was added; equal ones are blocks of the same tokens (of 2^64 values, 0 and 1 being the
//     same: collisions mislead a choice and touch no token).
// B-3 Memory is fixed: 16 bytes per block, or up to twice that.
// One writer at a time, in a happens-before order with the one before it; any number of readers.
// Cost: add, remove and contains look at 1.5 slots on average, at most half of which are in use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vdist::kv {

class published_prefixes {
public:
  /// Room for one hash per block.
  explicit published_prefixes(std::int32_t blocks);

  // --- the writer ---

  void add(std::uint64_t hash) noexcept;
  /// One of them that was added.
  void remove(std::uint64_t hash) noexcept;
  void clear() noexcept;

  // --- any thread ---

  [[nodiscard]] bool contains(std::uint64_t hash) const noexcept;

  /// How many of `chain` (chain_of()) are there before the first that is not: blocks of a prompt that need not be computed.
  [[nodiscard]] std::int32_t count_leading(std::span<const std::uint64_t> chain) const noexcept;

private:
  [[nodiscard]] std::size_t find(std::uint64_t key) const noexcept;

  std::size_t mask_;
  std::vector<std::atomic<std::uint64_t>> slots_; // linear probing; 0: free
};

} // namespace vdist::kv
