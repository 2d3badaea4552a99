#include "runtime/kv/host_store.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <new>
#include <type_traits>
#include <unordered_map>
#include <xxhash.h>

namespace vdist::kv {

namespace {

constexpr std::uint64_t store_magic = 0x76646b7673746f72ULL; // "vdkvstor"
constexpr std::uint32_t layout_version = 1;
constexpr std::size_t alignment = 64;        // of the memory, and of a slot's record
constexpr std::size_t slot_alignment = 4096; // a page: slots are copied whole

constexpr std::size_t aligned(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

} // namespace

struct host_store::header {
  std::atomic<std::uint64_t> magic; // last when a store is laid out
  std::uint32_t version;
  std::int32_t block_size;
  std::uint64_t block_bytes;
  std::uint64_t content;
  std::int32_t slots;

  [[nodiscard]] bool fits(const host_store_config& config, std::int32_t slots_wanted) const {
    return magic.load(std::memory_order_acquire) == store_magic && version == layout_version
           && block_size == config.block_size && block_bytes == config.block_bytes
           && content == config.content && slots == slots_wanted;
  }
};

struct host_store::record {
  std::atomic<std::uint64_t> serial; // 0: no entry (W-2)
  std::atomic<std::uint64_t> used;   // rises with every use of any entry
  std::uint64_t parent;              // serial
  std::uint64_t check;               // over serial, parent and tokens

  [[nodiscard]] static std::uint64_t
  check_of(std::uint64_t serial, std::uint64_t parent, std::span<const token_id> tokens) {
    return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), serial * 31 + parent);
  }
};

host_store_layout host_store::layout_of(std::size_t bytes, const host_store_config& config) {
  static_assert(std::is_trivially_destructible_v<header> && sizeof(header) <= alignment);
  const auto tokens = static_cast<std::size_t>(config.block_size) * sizeof(token_id);
  const auto record_stride = aligned(sizeof(record) + tokens, alignment);
  const auto slot_stride = aligned(config.block_bytes, alignment);
  const auto overhead = alignment + slot_alignment;
  const auto slots = bytes > overhead ? (bytes - overhead) / (record_stride + slot_stride) : 0;
  constexpr std::size_t slots_max = std::size_t{1} << 30U;
  host_store_layout made{.slots = static_cast<std::int32_t>(std::min(slots, slots_max)),
                         .slot_stride = slot_stride};
  made.first_slot =
      aligned(alignment + static_cast<std::size_t>(made.slots) * record_stride, slot_alignment);
  return made;
}

host_store::host_store(std::span<std::byte> memory, const host_store_config& config)
    : config_(config), layout_(layout_of(memory.size(), config)), memory_(memory) {
  VDIST_CHECK(config.block_size >= 1 && config.block_bytes >= 1 && layout_.slots >= 1,
              "host store: there must be room for one block");
  VDIST_CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % alignment == 0,
              "host store: the memory is not aligned");
  const auto tokens = static_cast<std::size_t>(config.block_size) * sizeof(token_id);
  record_stride_ = aligned(sizeof(record) + tokens, alignment);
  const auto slots = static_cast<std::size_t>(layout_.slots);
  bucket_mask_ = std::bit_ceil(slots * 2) - 1;
  buckets_.assign(bucket_mask_ + 1, -1);
  entries_.resize(slots);
  header_ = std::launder(reinterpret_cast<header*>(memory.data()));
  if (header_->fits(config_, layout_.slots)) {
    take_over();
  } else {
    lay_out();
  }
  for (auto slot = layout_.slots; slot > 0; --slot) {
    if (at(slot - 1).where == state::free) {
      free_.push_back(slot - 1);
    }
  }
}

/// A death on the way leaves no magic, so the next one begins again.
void host_store::lay_out() {
  header_->magic.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::int32_t slot = 0; slot < layout_.slots; ++slot) {
    record_at(slot).serial.store(0, std::memory_order_relaxed);
  }
  header_->version = layout_version;
  header_->block_size = config_.block_size;
  header_->block_bytes = config_.block_bytes;
  header_->content = config_.content;
  header_->slots = layout_.slots;
  header_->magic.store(store_magic, std::memory_order_release);
}

/// W-4. Parents come before their children: their serial numbers are lower.
void host_store::take_over() {
  std::vector<std::pair<std::uint64_t, std::int32_t>> found; // serial, slot
  for (std::int32_t slot = 0; slot < layout_.slots; ++slot) {
    const auto& one = record_at(slot);
    const auto serial = one.serial.load(std::memory_order_acquire);
    if (serial != 0 && is_sound(one, slot)) {
      found.emplace_back(serial, slot);
    } else {
      record_at(slot).serial.store(0, std::memory_order_relaxed);
    }
  }
  std::sort(found.begin(), found.end());
  std::unordered_map<std::uint64_t, std::int32_t> slot_of;
  for (const auto& [serial, slot] : found) {
    auto& one = record_at(slot);
    const auto parent = slot_of.find(one.parent);
    serial_last_ = std::max(serial_last_, serial);
    if (slot_of.contains(serial) || (one.parent != 0 && parent == slot_of.end())) {
      one.serial.store(0, std::memory_order_relaxed);
      continue;
    }
    slot_of.emplace(serial, slot);
    used_last_ = std::max(used_last_, one.used.load(std::memory_order_relaxed));
    enter(
        slot, one.parent == 0 ? -1 : parent->second, serial, hash_of(one.parent, tokens_at(slot)));
    at(slot).where = state::complete;
    ++complete_;
  }
  std::sort(found.begin(), found.end(), [this](const auto& a, const auto& b) {
    return record_at(a.second).used.load(std::memory_order_relaxed)
           < record_at(b.second).used.load(std::memory_order_relaxed);
  });
  for (const auto& [serial, slot] : found) {
    list_if_evictable(slot, place::newest);
  }
}

bool host_store::is_sound(const record& found, std::int32_t slot) const {
  const auto serial = found.serial.load(std::memory_order_relaxed);
  return found.parent < serial
         && found.check == record::check_of(serial, found.parent, tokens_at(slot));
}

host_store::record& host_store::record_at(std::int32_t slot) const {
  auto* const place = memory_.data() + alignment + static_cast<std::size_t>(slot) * record_stride_;
  return *std::launder(reinterpret_cast<record*>(place));
}

std::span<token_id> host_store::tokens_at(std::int32_t slot) const {
  auto* const place =
      memory_.data() + alignment + static_cast<std::size_t>(slot) * record_stride_ + sizeof(record);
  return {std::launder(reinterpret_cast<token_id*>(place)),
          static_cast<std::size_t>(config_.block_size)};
}

host_store::entry& host_store::at(std::int32_t slot) {
  return entries_[static_cast<std::size_t>(slot)];
}

const host_store::entry& host_store::at(std::int32_t slot) const {
  return entries_[static_cast<std::size_t>(slot)];
}

std::uint64_t host_store::hash_of(std::uint64_t parent, std::span<const token_id> tokens) const {
  return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), parent) & config_.hash_mask;
}

std::int32_t& host_store::bucket_of(std::uint64_t hash) {
  return buckets_[static_cast<std::size_t>(hash & bucket_mask_)];
}

bool host_store::contains(const stored_prefix& entry) const {
  return entry.serial == 0
         || (entry.slot >= 0 && entry.slot < layout_.slots
             && at(entry.slot).serial == entry.serial);
}

bool host_store::is_complete(const stored_prefix& entry) const {
  return entry.serial == 0 || (contains(entry) && at(entry.slot).where == state::complete);
}

std::optional<stored_prefix> host_store::find(const stored_prefix& parent,
                                              std::span<const token_id> tokens) const {
  VDIST_CHECK(tokens.size() == static_cast<std::size_t>(config_.block_size),
              "W-1: only full blocks");
  if (!contains(parent)) {
    return std::nullopt;
  }
  const auto hash = hash_of(parent.serial, tokens);
  auto slot = buckets_[static_cast<std::size_t>(hash & bucket_mask_)];
  for (; slot >= 0; slot = at(slot).next) {
    const auto& candidate = at(slot);
    if (candidate.hash == hash && candidate.parent == parent.slot
        && std::equal(tokens.begin(), tokens.end(), tokens_at(slot).begin())) {
      return stored_prefix{slot, candidate.serial};
    }
  }
  return std::nullopt;
}

void host_store::match(std::span<const token_id> tokens,
                       std::int32_t blocks_max,
                       std::vector<stored_prefix>& out) const {
  const auto size = static_cast<std::size_t>(config_.block_size);
  const auto blocks = std::min(tokens.size() / size, static_cast<std::size_t>(blocks_max));
  out.clear();
  stored_prefix last;
  for (std::size_t i = 0; i < blocks; ++i) {
    const auto found = find(last, tokens.subspan(i * size, size));
    if (!found || at(found->slot).where != state::complete) {
      return;
    }
    out.push_back(last = *found);
  }
}

std::optional<stored_prefix> host_store::begin(const stored_prefix& parent,
                                               std::span<const token_id> tokens) {
  VDIST_CHECK(contains(parent), "W-3: an entry outlives its descendants");
  VDIST_CHECK(!find(parent, tokens), "W-1: a prefix has one entry");
  pin(parent); // it is no victim
  const auto slot = take_slot();
  unpin(parent);
  if (slot < 0) {
    return std::nullopt;
  }
  const auto serial = ++serial_last_;
  auto& written = record_at(slot);
  written.parent = parent.serial;
  written.check = record::check_of(serial, parent.serial, tokens);
  std::copy(tokens.begin(), tokens.end(), tokens_at(slot).begin());
  enter(slot, parent.slot, serial, hash_of(parent.serial, tokens));
  at(slot).where = state::begun;
  begun_.push_back(slot);
  return stored_prefix{slot, serial};
}

void host_store::complete(const stored_prefix& entry) {
  VDIST_CHECK(entry.serial != 0 && contains(entry) && at(entry.slot).where == state::begun,
              "W-2: only a begun entry is completed");
  auto& done = at(entry.slot);
  VDIST_CHECK(done.parent < 0 || at(done.parent).where == state::complete,
              "W-3: a parent is complete before its children");
  std::erase(begun_, entry.slot);
  done.where = state::complete;
  ++complete_;
  auto& written = record_at(entry.slot);
  written.used.store(++used_last_, std::memory_order_relaxed);
  written.serial.store(entry.serial, std::memory_order_release);
  list_if_evictable(entry.slot, place::newest);
}

/// The youngest first: children before their parents.
void host_store::abandon_begun() {
  std::sort(begun_.begin(), begun_.end(), [this](std::int32_t a, std::int32_t b) {
    return at(a).serial > at(b).serial;
  });
  for (const auto slot : begun_) {
    VDIST_CHECK(at(slot).pins == 0, "W-3: an entry that is abandoned has no pin");
    leave(slot);
    free_.push_back(slot);
  }
  begun_.clear();
}

void host_store::touch(const stored_prefix& entry) {
  if (entry.serial == 0) {
    return;
  }
  VDIST_CHECK(contains(entry), "W-3: only what is there is used");
  record_at(entry.slot).used.store(++used_last_, std::memory_order_relaxed);
  if (at(entry.slot).is_listed) {
    unlist(entry.slot);
    list_if_evictable(entry.slot, place::newest);
  }
}

void host_store::pin(const stored_prefix& entry) {
  if (entry.serial == 0) {
    return;
  }
  VDIST_CHECK(contains(entry), "W-3: only what is there is pinned");
  ++at(entry.slot).pins;
  unlist(entry.slot);
}

void host_store::unpin(const stored_prefix& entry) {
  if (entry.serial == 0) {
    return;
  }
  VDIST_CHECK(contains(entry) && at(entry.slot).pins > 0, "W-3: as many unpins as pins");
  --at(entry.slot).pins;
  list_if_evictable(entry.slot, place::newest);
}

void host_store::enter(std::int32_t slot,
                       std::int32_t parent,
                       std::uint64_t serial,
                       std::uint64_t hash) {
  auto& bucket = bucket_of(hash);
  at(slot) = {.serial = serial, .hash = hash, .parent = parent, .next = bucket};
  bucket = slot;
  if (parent >= 0) {
    ++at(parent).children;
    unlist(parent);
  }
}

/// Not in the memory any more before anybody can write to the slot (W-2).
void host_store::leave(std::int32_t slot) {
  auto& gone = at(slot);
  record_at(slot).serial.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  unlist(slot);
  auto* link = &bucket_of(gone.hash);
  while (*link != slot) {
    link = &at(*link).next;
  }
  *link = gone.next;
  complete_ -= gone.where == state::complete ? 1 : 0;
  const auto parent = gone.parent;
  gone = {};
  if (parent >= 0) {
    --at(parent).children;
    list_if_evictable(parent, place::oldest); // a sequence goes as a whole, before those used later
  }
}

void host_store::list_if_evictable(std::int32_t slot, place where) {
  auto& one = at(slot);
  if (one.is_listed || one.where != state::complete || one.children > 0 || one.pins > 0) {
    return;
  }
  one.is_listed = true;
  one.older = where == place::newest ? newest_ : -1;
  one.newer = where == place::newest ? -1 : oldest_;
  (one.older < 0 ? oldest_ : at(one.older).newer) = slot;
  (one.newer < 0 ? newest_ : at(one.newer).older) = slot;
}

void host_store::unlist(std::int32_t slot) {
  auto& one = at(slot);
  if (!one.is_listed) {
    return;
  }
  (one.older < 0 ? oldest_ : at(one.older).newer) = one.newer;
  (one.newer < 0 ? newest_ : at(one.newer).older) = one.older;
  one.is_listed = false;
  one.older = -1;
  one.newer = -1;
}

/// -1: nothing is free, and nothing may be evicted.
std::int32_t host_store::take_slot() {
  if (!free_.empty()) {
    const auto slot = free_.back();
    free_.pop_back();
    return slot;
  }
  const auto slot = oldest_;
  if (slot >= 0) {
    leave(slot);
  }
  return slot;
}

result<void> host_store::check_integrity() const {
  const auto broken = [](std::string_view rule, std::int32_t slot) {
    return fail(errc::internal, fmt::format("host store: {} (slot={})", rule, slot));
  };
  std::vector<std::int32_t> children(entries_.size(), 0);
  std::int32_t complete = 0;
  for (std::int32_t slot = 0; slot < layout_.slots; ++slot) {
    const auto& one = at(slot);
    const bool is_free = one.where == state::free;
    const auto serial = record_at(slot).serial.load(std::memory_order_relaxed);
    if (serial != (one.where == state::complete ? one.serial : 0)) {
      return broken("W-2: the memory says otherwise", slot);
    }
    if (is_free != (one.serial == 0)
        || (one.parent >= 0
            && (at(one.parent).serial == 0 || at(one.parent).serial >= one.serial))) {
      return broken("W-3: an entry has no parent", slot);
    }
    const bool is_evictable = one.where == state::complete && one.children == 0 && one.pins == 0;
    if (is_evictable != one.is_listed) {
      return broken("W-3: the list of victims is wrong", slot);
    }
    complete += one.where == state::complete ? 1 : 0;
    if (!is_free && one.parent >= 0) {
      ++children[static_cast<std::size_t>(one.parent)];
    }
  }
  for (std::int32_t slot = 0; slot < layout_.slots; ++slot) {
    if (children[static_cast<std::size_t>(slot)] != at(slot).children) {
      return broken("W-3: children are not counted", slot);
    }
  }
  const auto in_use = static_cast<std::size_t>(complete) + begun_.size();
  if (complete != complete_ || in_use + free_.size() != entries_.size()) {
    return broken("slots are lost", complete);
  }
  return {};
}

} // namespace vdist::kv
