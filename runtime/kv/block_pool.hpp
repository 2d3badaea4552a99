// runtime/kv/block_pool.hpp — hands out KV block ids; owns no device memory.
// Why: the scheduler must know before a step whether every sequence fits, so planning (can_reserve,
// match) is apart from committing (reserve, retain). Not thread-safe: one scheduler owns it.
// K-1 a block is free, owned or cached, never two of these.
// K-2 refs(b) == 0 iff b is free or cached.
// K-3 a block used by a submitted step is not handed out before that step retires: the owner of the
//     pool keeps its references until then (a step in flight is a reason to hold, not a second
//     count).
// K-4 a block is published only when its KV is complete and committed; what is published is never
//     written again while it is owned or cached.
// K-5 an exposed block, to which somebody who is dead may still write, is handed out only after lift(): without references it
//     is free or cached like others, but not available. Who has it, or shares it as a prefix, goes on with it: what is written
//     late is what the block held or will hold for them (sched/scheduler.hpp, S-13).
// Cached blocks are reused last: least recently released first, and within one sequence its tail
// first, because a prefix without its tail is still of use and a tail without its prefix is not.
// Cost: reserve/release O(blocks moved), match O(blocks matched); no allocation after construction
// except in the caller's vectors; check_integrity() O(pool), run when idle.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kv/prefix_index.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vdist::kv {

struct block_pool_config {
  std::int32_t blocks = 0;      // >= 1
  std::int32_t block_size = 16; // tokens per block, >= 1
  bool prefix_cache = true;     // off: publish() and match() do nothing
  std::uint64_t salt = 0;       // seeds the prefix hashes
};

class block_pool {
public:
  explicit block_pool(const block_pool_config& config);

  // --- planning: changes nothing ---

  /// Whether `count` new blocks can be had, evicting cached ones where needed, while the blocks in
  /// `hits` (from match) stay as they are.
  [[nodiscard]] bool can_reserve(std::int32_t count, std::span<const block_id> hits = {}) const;

  /// Finds the published blocks that hold the longest prefix of `tokens`, at most `blocks_max` of
  /// them, and puts them into `hits` (cleared first). Returns the node of the matched prefix.
  prefix_node match(std::span<const token_id> tokens,
                    std::int32_t blocks_max,
                    std::vector<block_id>& hits) const;

  // --- committing ---

  /// Appends `count` blocks with one reference each; their content is undefined. Evicts cached
  /// blocks when no free one is left. can_reserve(count) must hold.
  void reserve(std::int32_t count, std::vector<block_id>& out);

  /// Blocks that somebody held before this pool was made: one reference for each time that a block is in the list. Only while
  /// all blocks are free. O(pool).
  void adopt(std::span<const block_id> blocks);

  /// One more reference to each block, owned or cached (never free).
  void retain(std::span<const block_id> blocks);

  /// One reference less to each block, from the last to the first. A block without references
  /// becomes cached if it was published, else free.
  void release(std::span<const block_id> blocks);

  /// Publishes an owned block that holds exactly `tokens` (a full block) after `parent` (K-4).
  /// If the content is published already, the other block stays the published one; a block that is
  /// published already is so with this content. Returns the node of parent + tokens, the parent of
  /// the next block.
  prefix_node publish(const prefix_node& parent, std::span<const token_id> tokens, block_id block);

  /// Others see from now on what is published; as prefix_index::show_in().
  void show_prefixes(published_prefixes& shown) { index_.show_in(shown); }

  /// Somebody may still write to these blocks, which are owned (K-5). Any number of times.
  void expose(std::span<const block_id> blocks);

  /// Nobody writes any more to blocks that others have. O(exposed).
  void lift();

  /// All KV content is gone: nothing is published any more, cached blocks become free, owned ones
  /// stay owned.
  void forget_content();

  // --- counts ---

  [[nodiscard]] std::int32_t blocks() const { return config_.blocks; }

  [[nodiscard]] std::int32_t block_size() const { return config_.block_size; }

  /// Held ones included.
  [[nodiscard]] std::int32_t free_count() const {
    return static_cast<std::int32_t>(free_.size()) + held_free_;
  }

  [[nodiscard]] std::int32_t cached_count() const { return cached_count_; }

  [[nodiscard]] std::int32_t owned_count() const {
    return config_.blocks - free_count() - cached_count_;
  }

  /// Free or cached, and only not available because they are exposed (K-5).
  [[nodiscard]] std::int32_t held_count() const { return held_free_ + held_cached_; }

  /// Free or evictable.
  [[nodiscard]] std::int32_t available_count() const {
    return free_count() + cached_count_ - held_count();
  }

  [[nodiscard]] std::int32_t refs(block_id block) const;

  /// Whether it is the published block of its content.
  [[nodiscard]] bool is_published(block_id block) const { return index_.contains(block); }

  [[nodiscard]] std::uint64_t evictions() const { return evictions_; }

  /// O(pool). Error internal: text names the rule and the first block that breaks it.
  [[nodiscard]] result<void> check_integrity() const;

private:
  enum class state : std::uint8_t { free, owned, cached };

  struct block {
    std::int32_t refs = 0;
    std::int32_t older = -1; // neighbours in the list of cached blocks
    std::int32_t newer = -1;
    state where = state::free;
    bool is_exposed = false; // K-5
  };

  [[nodiscard]] block& at(block_id id);
  [[nodiscard]] const block& at(block_id id) const;
  void set_free(std::int32_t index);
  void link_newest(std::int32_t index);
  void unlink(std::int32_t index);
  std::int32_t evict_oldest();
  [[nodiscard]] result<void> check_exposed(std::vector<std::uint8_t>& listed) const;

  block_pool_config config_;
  std::vector<block> blocks_;
  std::vector<std::int32_t> free_; // a stack: the block used last is used next; none is exposed
  std::vector<std::int32_t> exposed_;
  std::int32_t held_free_ = 0;   // exposed and free
  std::int32_t held_cached_ = 0; // exposed and cached
  std::int32_t cached_count_ = 0;
  std::int32_t oldest_ = -1; // of the cached blocks
  std::int32_t newest_ = -1;
  std::uint64_t evictions_ = 0;
  prefix_index index_;
};

} // namespace vdist::kv
