// runtime/ledger/shared_blocks.hpp — the writer's side of the blocks of a shared ledger: who has
// which. Internal to runtime/ledger.
// Why chains of small blocks: any free block serves any request, so that nothing fragments and a
// count of tokens is enough to promise room (L-1). Which blocks are free is written nowhere: it
// follows from the chains that entries hold, and a successor finds it out again.
// Free blocks form a chain too, in the same links: releasing a chain of any length is one write.
// Blocks that were never used come last, so that no more pages are touched than are needed.
// Not thread-safe. Nothing allocates but claim(), of which only recovery has need.
#pragma once

#include "runtime/ledger/shared_region.hpp"

namespace vdist::ledger {

struct block_chain {
  std::uint32_t head = no_block;
  std::uint32_t tail = no_block;
};

class shared_blocks {
public:
  explicit shared_blocks(const shared_region& region) : region_(region) {}

  /// A new chain that holds the bytes, which are whole words.
  [[nodiscard]] block_chain write(std::span<const std::byte> bytes);

  /// Writes word number `index` of a chain that holds the `index` words before it.
  void append(block_chain& chain, std::uint64_t index, std::int32_t word) {
    if (index % block_words == 0) {
      extend(chain);
    }
    region_.words(chain.tail)[index % block_words].set(word);
  }

  /// Gives the blocks back. Only after a version that does not refer to them is published (L-4).
  void release(const block_chain& chain);

  /// Recovery, first half: finds the chain of so many words that starts at `head` and marks it as
  /// used. Error: corrupt (a block that does not exist, or has another owner).
  [[nodiscard]] result<block_chain> claim(std::uint32_t head, std::uint64_t words);

  /// Recovery, second half: everything that was not claimed is free.
  void free_unclaimed();

private:
  void extend(block_chain& chain);
  [[nodiscard]] std::uint32_t take();

  shared_region region_;
  std::uint32_t free_ = no_block; // first of the chain of free blocks
  std::uint32_t fresh_ = 0;       // this one and all behind it were never used
  std::vector<bool> claimed_;     // during recovery
};

} // namespace vdist::ledger
