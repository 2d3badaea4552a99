#include "runtime/sched/kv_table.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <new>
#include <type_traits>
#include <unordered_map>

namespace vdist::sched {

namespace {

constexpr std::uint64_t table_magic = 0x76646b767461626cULL; // "vdkvtabl"
constexpr std::uint32_t layout_version = 1;
constexpr std::size_t alignment = 64;

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}

/// What is known of a block while records are compared.
struct block_use {
  std::int32_t index = -1; // in its sequence
  bool is_full = false;
  bool is_disputed = false;
};

/// Marks blocks that cannot belong to all that name them: only full blocks at the same place are shared.
std::vector<block_use> uses_of(const std::vector<kept_kv>& records, const kv_table_config& config) {
  std::vector<block_use> uses(static_cast<std::size_t>(config.blocks));
  for (const auto& record : records) {
    const auto full = record.computed / config.block_size;
    for (std::int32_t i = 0; i < std::ssize(record.blocks); ++i) {
      auto& use = uses[static_cast<std::size_t>(record.blocks[static_cast<std::size_t>(i)].value)];
      const bool is_full = i < full;
      if (use.index < 0) {
        use = {.index = i, .is_full = is_full};
      } else if (!config.shares_blocks || !use.is_full || !is_full || use.index != i) {
        use.is_disputed = true;
      }
    }
  }
  return uses;
}

void leave_out_contradictions(std::vector<kept_kv>& records, const kv_table_config& config) {
  const auto uses = uses_of(records, config);
  std::unordered_map<request_id, int> times;
  for (const auto& record : records) {
    ++times[record.id];
  }
  std::erase_if(records, [&uses, &times](const kept_kv& record) {
    return times[record.id] > 1
           || std::any_of(record.blocks.begin(), record.blocks.end(), [&uses](block_id block) {
                return uses[static_cast<std::size_t>(block.value)].is_disputed;
              });
  });
}

} // namespace

struct kv_table::header {
  std::atomic<std::uint64_t> magic; // last when a table is laid out
  std::uint32_t version;
  std::int32_t max_sequences;
  std::int32_t blocks;
  std::int32_t block_size;
  std::int32_t blocks_per_sequence;
  std::int32_t shares_blocks;
  std::atomic<std::uint64_t> content;
  std::atomic<std::uint64_t> notes_made;

  [[nodiscard]] bool fits(const kv_table_config& config) const {
    return magic.load(std::memory_order_acquire) == table_magic && version == layout_version
           && max_sequences == config.max_sequences && blocks == config.blocks
           && block_size == config.block_size && blocks_per_sequence == config.blocks_per_sequence
           && shares_blocks == static_cast<std::int32_t>(config.shares_blocks);
  }
};

std::size_t kv_table::bytes_for(const kv_table_config& config) {
  const auto records = static_cast<std::size_t>(config.max_sequences);
  return aligned(sizeof(header)) + aligned(records * sizeof(head_record))
         + aligned(notes_of(config) * sizeof(std::uint64_t))
         + aligned(records * static_cast<std::size_t>(config.blocks_per_sequence)
                   * sizeof(std::int32_t));
}

/// Those that wait without KV are seldom more than those that run.
std::size_t kv_table::notes_of(const kv_table_config& config) {
  constexpr std::size_t least = 64;
  return least + 2 * static_cast<std::size_t>(config.max_sequences);
}

kv_table::kv_table(std::span<std::byte> memory, const kv_table_config& config)
    : config_(config), notes_max_(notes_of(config)) {
  static_assert(std::is_trivially_destructible_v<header> && sizeof(header) <= alignment);
  VDIST_CHECK(config.max_sequences >= 1 && config.blocks >= 1 && config.block_size >= 1
                  && config.blocks_per_sequence >= 1,
              "kv table: sizes must be positive");
  VDIST_CHECK(memory.size() >= bytes_for(config)
                  && reinterpret_cast<std::uintptr_t>(memory.data()) % alignment == 0,
              "kv table: the memory does not fit");
  auto* const heads = memory.data() + aligned(sizeof(header));
  auto* const notes =
      heads + aligned(static_cast<std::size_t>(config.max_sequences) * sizeof(head_record));
  auto* const places = notes + aligned(notes_max_ * sizeof(std::uint64_t));
  header_ = std::launder(reinterpret_cast<header*>(memory.data()));
  heads_ = std::launder(reinterpret_cast<head_record*>(heads));
  notes_ = std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(notes));
  places_ = std::launder(reinterpret_cast<std::atomic<std::int32_t>*>(places));
  if (!header_->fits(config)) {
    lay_out();
  }
}

/// A death on the way leaves no magic, so the next one begins again.
void kv_table::lay_out() {
  header_->magic.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::uint32_t slot = 0; slot < static_cast<std::uint32_t>(config_.max_sequences); ++slot) {
    head(slot).id.store(0, std::memory_order_relaxed);
    head(slot).computed.store(0, std::memory_order_relaxed);
  }
  for (std::size_t i = 0; i < notes_max_; ++i) {
    notes_[i].store(0, std::memory_order_relaxed);
  }
  header_->version = layout_version;
  header_->max_sequences = config_.max_sequences;
  header_->blocks = config_.blocks;
  header_->block_size = config_.block_size;
  header_->blocks_per_sequence = config_.blocks_per_sequence;
  header_->shares_blocks = static_cast<std::int32_t>(config_.shares_blocks);
  header_->content.store(0, std::memory_order_relaxed);
  header_->notes_made.store(0, std::memory_order_relaxed);
  header_->magic.store(table_magic, std::memory_order_release);
}

void kv_table::note_without(request_id id) {
  const auto made = header_->notes_made.load(std::memory_order_relaxed);
  notes_[made % notes_max_].store(id.value, std::memory_order_relaxed);
  header_->notes_made.store(made + 1, std::memory_order_relaxed);
}

void kv_table::set_content(std::uint64_t content) {
  header_->content.store(content, std::memory_order_release);
}

std::uint64_t kv_table::content() const {
  return header_->content.load(std::memory_order_acquire);
}

/// False: there is no record, or none that can be.
bool kv_table::copy_record(std::uint32_t slot, kept_kv& out) const {
  out.slot = slot;
  out.computed = head(slot).computed.load(std::memory_order_acquire);
  out.id = request_id(head(slot).id.load(std::memory_order_relaxed));
  const auto computed_max = std::int64_t{config_.blocks_per_sequence} * config_.block_size;
  if (out.computed < 1 || out.computed > computed_max || out.id.value == 0) {
    return false;
  }
  out.blocks.clear();
  for (std::int32_t i = 0; std::int64_t{i} * config_.block_size < out.computed; ++i) {
    const auto block = place(slot, i).load(std::memory_order_relaxed);
    if (block < 0 || block >= config_.blocks) {
      return false;
    }
    out.blocks.emplace_back(block);
  }
  return true;
}

std::vector<kept_kv> kv_table::read() const {
  std::vector<kept_kv> records;
  kept_kv record;
  for (std::uint32_t slot = 0; slot < static_cast<std::uint32_t>(config_.max_sequences); ++slot) {
    if (copy_record(slot, record)) {
      records.push_back(record);
    }
  }
  leave_out_contradictions(records, config_);
  return records;
}

std::vector<request_id> kv_table::without() const {
  std::vector<request_id> ids;
  for (std::size_t i = 0; i < notes_max_; ++i) {
    if (const auto id = notes_[i].load(std::memory_order_relaxed); id != 0) {
      ids.emplace_back(id);
    }
  }
  return ids;
}

std::vector<request_id> kv_table::keepers() const {
  std::vector<request_id> ids;
  for (std::uint32_t slot = 0; slot < static_cast<std::uint32_t>(config_.max_sequences); ++slot) {
    if (head(slot).computed.load(std::memory_order_acquire) > 0) {
      ids.emplace_back(head(slot).id.load(std::memory_order_relaxed));
    }
  }
  return ids;
}

} // namespace vdist::sched
