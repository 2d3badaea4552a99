// runtime/kv/host_store.hpp — copies of full KV blocks in host memory that outlives workers, vault and scheduler: which slot
// holds which prefix. A view of bytes that belong to somebody else; what is in the slots is written and read by workers.
// Why: whoever loses the KV of a device for good need not compute it again (sched/scheduler.hpp S-12, protocol/step.hpp P-10).
//
//   free ──begin──▶ begun (workers write) ──complete──▶ complete ──begin of another prefix──▶ begun
//                     └──abandon_begun──▶ free
//
// W-1 Exact: an entry is found by (serial number of its parent's entry, the tokens of its block), both compared in full; a
//     serial number names one prefix, and none is used twice. By induction what is found has the same tokens from the first.
// W-2 An entry is in the memory from complete() on, by one store behind all others of it, and out of it before its slot is
//     given to another, by one store, too: a writer that dies anywhere leaves whole entries only.
// W-3 An entry outlives its descendants. Evicted is the one used least recently that has none and no pin, so a sequence loses
//     its tail first; a pinned one keeps all its ancestors.
// W-4 Memory of another model, shape or block size (`content`) becomes an empty store. Reading believes nothing: entries that
//     are damaged, or whose parent is missing, are left out.
// W-5 A slot depends on the model alone, not on how it is split: [layer][keys, values][kv head][position][head_dim].
// One writer at a time; who follows makes a view of its own, after the other has ended. Not thread-safe.
// Cost: find, begin and complete O(block_size); attaching O(slots); memory beside the slots: 4 bytes per token of them, and a
// hundred bytes per slot.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vdist::kv {

struct host_store_config {
  std::int32_t block_size = 0;                 // tokens, >= 1
  std::size_t block_bytes = 0;                 // of one slot, >= 1
  std::uint64_t content = 0;                   // names the model and all that its KV depends on
  std::uint64_t hash_mask = ~std::uint64_t{0}; // tests make everything collide with it
};

/// Where the slots are in the memory of a store.
struct host_store_layout {
  std::int32_t slots = 0;      // 0: there is no room for one
  std::size_t first_slot = 0;  // bytes before it
  std::size_t slot_stride = 0; // bytes from one to the next
};

/// Where an entry is. The default is the empty prefix, which is always there.
struct stored_prefix {
  std::int32_t slot = -1;
  std::uint64_t serial = 0;

  bool operator==(const stored_prefix&) const = default;
};

class host_store {
public:
  [[nodiscard]] static host_store_layout layout_of(std::size_t bytes,
                                                   const host_store_config& config);

  /// Over bytes at a multiple of 64 that outlive the view, room for one slot at least.
  host_store(std::span<std::byte> memory, const host_store_config& config);
  host_store(const host_store&) = delete;
  host_store& operator=(const host_store&) = delete;

  [[nodiscard]] std::int32_t slots() const { return layout_.slots; }

  /// Of complete entries.
  [[nodiscard]] std::int32_t complete_count() const { return complete_; }

  [[nodiscard]] std::int32_t begun_count() const {
    return static_cast<std::int32_t>(begun_.size());
  }

  // --- looking; `parent` that is not there any more has no descendants ---

  /// The entry of `tokens`, exactly block_size of them, behind `parent`; begun ones, too.
  [[nodiscard]] std::optional<stored_prefix> find(const stored_prefix& parent,
                                                  std::span<const token_id> tokens) const;

  /// The complete entries of the longest prefix of `tokens`, at most `blocks_max`, into `out` (cleared first).
  void match(std::span<const token_id> tokens,
             std::int32_t blocks_max,
             std::vector<stored_prefix>& out) const;

  [[nodiscard]] bool contains(const stored_prefix& entry) const;
  [[nodiscard]] bool is_complete(const stored_prefix& entry) const;

  // --- changing ---

  /// A slot for `tokens` behind `parent`, which is contained, and where they are not yet. nullopt: no slot may be evicted.
  [[nodiscard]] std::optional<stored_prefix> begin(const stored_prefix& parent,
                                                   std::span<const token_id> tokens);

  /// Workers have written all of a begun entry, and of its parent.
  void complete(const stored_prefix& entry);

  /// Nobody writes begun ones any more; they are not there.
  void abandon_begun();

  /// Used now. Of contained ones.
  void touch(const stored_prefix& entry);

  /// Not evicted, nor its ancestors, until as many unpins. Pinning the empty prefix does nothing.
  void pin(const stored_prefix& entry);
  void unpin(const stored_prefix& entry);

  /// O(slots). Error internal: the rule that is broken and the first slot that breaks it.
  [[nodiscard]] result<void> check_integrity() const;

private:
  struct header;
  struct record; // of a slot, in the memory; its tokens follow
  enum class state : std::uint8_t { free, begun, complete };

  /// What is known of a slot here.
  struct entry {
    std::uint64_t serial = 0; // 0: free
    std::uint64_t hash = 0;
    std::int32_t parent = -1; // slot; -1: the empty prefix
    std::int32_t next = -1;   // of the same bucket
    std::int32_t children = 0;
    std::int32_t pins = 0;
    std::int32_t older = -1; // neighbours in the list of those that may be evicted
    std::int32_t newer = -1;
    bool is_listed = false;
    state where = state::free;
  };

  void lay_out();
  void take_over();
  [[nodiscard]] bool is_sound(const record& found, std::int32_t slot) const;
  [[nodiscard]] record& record_at(std::int32_t slot) const;
  [[nodiscard]] std::span<token_id> tokens_at(std::int32_t slot) const;
  [[nodiscard]] entry& at(std::int32_t slot);
  [[nodiscard]] const entry& at(std::int32_t slot) const;
  [[nodiscard]] std::uint64_t hash_of(std::uint64_t parent, std::span<const token_id> tokens) const;
  [[nodiscard]] std::int32_t& bucket_of(std::uint64_t hash);
  void enter(std::int32_t slot, std::int32_t parent, std::uint64_t serial, std::uint64_t hash);
  void leave(std::int32_t slot);
  enum class place : std::uint8_t { oldest, newest };
  void list_if_evictable(std::int32_t slot, place where);
  void unlist(std::int32_t slot);
  [[nodiscard]] std::int32_t take_slot();

  host_store_config config_;
  host_store_layout layout_;
  std::span<std::byte> memory_;
  header* header_;
  std::size_t record_stride_;
  std::uint64_t bucket_mask_;
  std::vector<std::int32_t> buckets_;
  std::vector<entry> entries_;      // by slot
  std::vector<std::int32_t> free_;  // a stack
  std::vector<std::int32_t> begun_; // slots
  std::int32_t complete_ = 0;
  std::int32_t oldest_ = -1;
  std::int32_t newest_ = -1;
  std::uint64_t serial_last_ = 0;
  std::uint64_t used_last_ = 0;
};

} // namespace vdist::kv
