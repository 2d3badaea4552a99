// runtime/sched/kv_table.hpp — which KV blocks hold whose tokens, in memory that outlives the scheduler.
// Why: workers keep their KV when the scheduler's thread, actor or process dies; without this table nobody would know what
// it is, and every prompt would be computed again. A view of bytes that belong to somebody else and live exactly as long as
// the KV; zeros are an empty table. One record per slot of the scheduler.
//
// One writer, the scheduler of the moment, without a lock: it may die between any two stores. At every instant
// T-1 a record with computed = C > 0 names blocks whose positions below C hold the KV of the first C tokens of its request;
// T-2 nobody writes to these positions: a record is cleared before a plan that gives its blocks to others is handed out;
// T-3 that follows from the order of the stores: claim = id, blocks, computed; growth = blocks, computed; clear = computed 0.
//     Blocks of a running sequence are only added, so the one store of `computed` publishes, and nothing can stay half open;
// T-4 C is written when a step is committed, just before the ledger hears of it, and the record of one that has ended is
//     cleared after the ledger knows the end: what the ledger knows is never computed again. So C may be as high as the
//     tokens that the ledger knows; a reader uses known - 1 at most, because one has to be computed to sample the next.
// T-5 Reading believes nothing: records that are out of range or contradict each other are left out. That the tokens in the
//     blocks are a request's is the writer's word alone; that the request goes on is for the reader to find out.
// T-6 `content` names the KV memory that the records are about (0: none): when that is other memory, they are void.
// T-7 Requests that go on without KV, because they gave it up or its loss has been counted, are noted, the newest so many:
//     for a statistic only.
// Cost: a committed entry one store, and one per block begun; read() O(records + blocks). Any thread may call keepers().
#pragma once

#include "runtime/base/ids.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vdist::sched {

/// What a table is laid out for. All above 0.
struct kv_table_config {
  std::int32_t max_sequences = 0;       // records
  std::int32_t blocks = 0;              // of the KV pool
  std::int32_t block_size = 0;          // tokens
  std::int32_t blocks_per_sequence = 0; // at most
  bool shares_blocks = true;            // sequences may have full blocks in common

  bool operator==(const kv_table_config&) const = default;
};

/// A record that was read.
struct kept_kv {
  request_id id;
  std::uint32_t slot = 0;
  std::int32_t computed = 0;    // >= 1
  std::vector<block_id> blocks; // for positions 0 … computed-1, no more
};

class kv_table {
public:
  [[nodiscard]] static std::size_t bytes_for(const kv_table_config& config);

  /// Over bytes_for(config) bytes at a multiple of 64, which outlive the view. What is laid out for another configuration
  /// becomes an empty table.
  kv_table(std::span<std::byte> memory, const kv_table_config& config);

  [[nodiscard]] const kv_table_config& config() const { return config_; }

  // --- writer; slot and index in range ---

  /// Begins a record. The slot's is cleared.
  void claim(std::uint32_t slot, request_id id) {
    auto& record = head(slot);
    record.computed.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    record.id.store(id.value, std::memory_order_relaxed);
  }

  /// For positions index*block_size and on. At or above what is published.
  void set_block(std::uint32_t slot, std::int32_t index, block_id block) {
    place(slot, index).store(block.value, std::memory_order_relaxed);
  }

  void publish(std::uint32_t slot, std::int32_t computed) {
    head(slot).computed.store(computed, std::memory_order_release);
  }

  /// What follows is seen behind it only.
  void clear(std::uint32_t slot) {
    head(slot).computed.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }

  /// T-7.
  void note_without(request_id id);

  void set_content(std::uint64_t content);

  // --- reader ---

  [[nodiscard]] std::uint64_t content() const;
  /// T-5, by slot.
  [[nodiscard]] std::vector<kept_kv> read() const;
  /// T-7, in no order.
  [[nodiscard]] std::vector<request_id> without() const;
  /// Whose KV is here, unchecked. Any thread.
  [[nodiscard]] std::vector<request_id> keepers() const;

private:
  struct header;

  struct head_record {
    std::atomic<std::uint64_t> id;
    std::atomic<std::int32_t> computed; // tokens; 0: no record
    std::int32_t unused;
  };

  static_assert(std::atomic<std::uint64_t>::is_always_lock_free
                && std::atomic<std::int32_t>::is_always_lock_free && sizeof(head_record) == 16);

  [[nodiscard]] head_record& head(std::uint32_t slot) const { return heads_[slot]; }

  [[nodiscard]] std::atomic<std::int32_t>& place(std::uint32_t slot, std::int32_t index) const {
    return places_[static_cast<std::size_t>(slot)
                       * static_cast<std::size_t>(config_.blocks_per_sequence)
                   + static_cast<std::size_t>(index)];
  }

  void lay_out();
  [[nodiscard]] bool copy_record(std::uint32_t slot, kept_kv& out) const;

  [[nodiscard]] static std::size_t notes_of(const kv_table_config& config);

  kv_table_config config_;
  header* header_;
  std::size_t notes_max_;
  head_record* heads_;                // [max_sequences]
  std::atomic<std::uint64_t>* notes_; // [notes_max], request ids in a ring
  std::atomic<std::int32_t>* places_; // [max_sequences, blocks_per_sequence], block ids
};

} // namespace vdist::sched
