// runtime/kv/prefix_index.hpp — finds the KV block that holds given tokens after a given prefix.
// A node stands for one exact prefix of full blocks. Its serial number is never reused, and an
// entry is keyed by (serial of the parent node, the block's own token ids), both compared in full
// on every hit: by induction a hit has the same tokens from the first to the last. The chained hash
// (XXH3 of the block's tokens, seeded by the parent's hash) only chooses the bucket, so a collision
// costs time and never correctness. Not thread-safe: the block pool that owns it is not either. X-1
// at most one block per (parent, tokens).   X-2 a serial number names one token sequence for ever.
// Cost: find/insert O(block_size), erase O(bucket); memory fixed at construction.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kv/published_prefixes.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vdist::kv {

/// One exact prefix, a whole number of blocks long. The default is the empty prefix.
struct prefix_node {
  std::uint64_t serial = 0; // 0: the empty prefix
  std::uint64_t hash = 0;   // chained content hash; the same on every replica with the same salt
};

/// The chain of hashes: of a block's tokens behind a prefix of hash `before`; of a first block behind the salt.
[[nodiscard]] std::uint64_t chained_hash(std::uint64_t before, std::span<const token_id> tokens);

/// Hashes of the full blocks of `tokens`, the first `blocks_max` of them, into `out` (cleared first):
/// prefix_node::hash of every prefix that an index with this salt would give.
void chain_of(std::span<const token_id> tokens,
              std::int32_t block_size,
              std::int32_t blocks_max,
              std::uint64_t salt,
              std::vector<std::uint64_t>& out);

class prefix_index {
public:
  /// Room for one entry per block of the pool. `salt` seeds the chain of hashes. `hash_mask` keeps
  /// only these bits of every hash: tests make everything collide with it.
  prefix_index(std::int32_t blocks,
               std::int32_t block_size,
               std::uint64_t salt,
               std::uint64_t hash_mask = ~std::uint64_t{0});

  struct hit {
    block_id block;
    prefix_node node;
  };

  /// The block that holds `tokens` (exactly block_size of them) directly after `parent`.
  [[nodiscard]] std::optional<hit> find(const prefix_node& parent,
                                        std::span<const token_id> tokens) const;

  /// Enters `block`, or finds that the same content is there already: then `block` stays
  /// outside. Returns the node of the content either way. `block` must not have an entry.
  prefix_node insert(const prefix_node& parent, std::span<const token_id> tokens, block_id block);

  [[nodiscard]] bool contains(block_id block) const;

  /// Takes the block's entry out; its descendants can no longer be reached and age out.
  void erase(block_id block);

  void clear();

  /// From now on `shown` has the hashes of all entries (published_prefixes.hpp; the calling thread writes it). Borrowed.
  void show_in(published_prefixes& shown);

  [[nodiscard]] std::int32_t size() const { return size_; }

  /// O(blocks). Error internal: text names the first block that is wrong.
  [[nodiscard]] result<void> check_integrity() const;

private:
  struct entry {
    std::uint64_t serial = 0; // 0: no entry
    std::uint64_t parent = 0;
    std::uint64_t hash = 0;
    std::int32_t next = -1; // next block of the same bucket
  };

  [[nodiscard]] std::uint64_t hash_of(const prefix_node& parent,
                                      std::span<const token_id> tokens) const;
  [[nodiscard]] std::int32_t& bucket_of(std::uint64_t hash);
  [[nodiscard]] std::int32_t
  lookup(std::uint64_t parent, std::uint64_t hash, std::span<const token_id> tokens) const;

  std::int32_t block_size_;
  std::uint64_t salt_;
  std::uint64_t hash_mask_;
  std::uint64_t bucket_mask_;
  std::uint64_t serial_last_ = 0;
  std::int32_t size_ = 0;
  std::vector<std::int32_t> buckets_; // first block of each bucket, -1: empty
  std::vector<entry> entries_;        // by block
  std::vector<token_id> tokens_;      // [blocks, block_size]
  published_prefixes* shown_ = nullptr; // null: nobody looks
};

} // namespace vdist::kv
