// transport/vault/region_table.hpp — which regions a vault holds and what it may still take on,
// whatever their memory is made of: the rules of vault.hpp in one place for every vault.
// T-1 the mapped bytes of all entries never exceed the limit, nor their number the count.
// T-2 a map() that fails leaves no entry. Not thread-safe. Cost: O(log regions).
#pragma once

#include "transport/vault/vault.hpp"

#include <limits>
#include <map>
#include <utility>

namespace vdist::vault {

/// What a table may hold.
struct region_limits {
  std::size_t bytes = std::numeric_limits<std::size_t>::max(); // whole pages of all regions
  std::size_t count = std::numeric_limits<std::size_t>::max(); // regions
  std::size_t page_bytes = 4096;                               // memory comes in multiples of it
};

/// What it holds.
struct region_usage {
  std::size_t bytes = 0;
  std::size_t count = 0;
};

/// `bytes`, rounded up to pages of `page` bytes.
[[nodiscard]] constexpr std::size_t whole_pages(std::size_t bytes, std::size_t page) noexcept {
  return (bytes + page - 1) / page * page;
}

/// `bytes` in whole pages, if a new region of that size is legal and has room.
[[nodiscard]] result<std::size_t> admit_region(const region_key& key,
                                               std::size_t bytes,
                                               const region_limits& limits,
                                               const region_usage& usage);

[[nodiscard]] error too_many_regions(const region_key& key, std::size_t held, std::size_t limit);
[[nodiscard]] error size_differs(const region_key& key, std::size_t bytes, std::size_t held_bytes);
[[nodiscard]] error no_such_region(const region_key& key, const char* operation);
[[nodiscard]] error memory_refused(const region_key& key, std::size_t bytes, const error& cause);

/// `Memory` owns the bytes of one region and gives them back when destroyed.
template <class Memory>
class region_table {
public:
  struct entry {
    std::size_t bytes = 0;        // as asked for
    std::size_t mapped_bytes = 0; // whole pages
    std::optional<std::uint64_t> ready_hash;
    Memory memory;
  };

  struct found {
    const entry* held = nullptr; // until this region is released
    bool is_new = false;
  };

  explicit region_table(const region_limits& limits) : limits_(limits) {}

  /// `make(whole-page bytes) -> result<Memory>` is called for a new key. Errors as vault::map().
  template <class Make>
  [[nodiscard]] result<found> map(const region_key& key, std::size_t bytes, const Make& make) {
    if (const auto place = entries_.find(key); place != entries_.end()) {
      if (place->second.bytes != bytes) {
        return size_differs(key, bytes, place->second.bytes);
      }
      return found{&place->second, false};
    }
    VDIST_ASSIGN(const std::size_t mapped_bytes, admit_region(key, bytes, limits_, usage()));
    result<Memory> made = make(mapped_bytes);
    if (!made) {
      return memory_refused(key, mapped_bytes, made.error());
    }
    const auto place =
        entries_.emplace(key, entry{bytes, mapped_bytes, std::nullopt, std::move(made).value()});
    total_bytes_ += mapped_bytes;
    return found{&place.first->second, true};
  }

  /// A region that another table has admitted. False: there is one with this key.
  [[nodiscard]] bool restore(const region_key& key, entry restored) {
    const auto mapped_bytes = restored.mapped_bytes;
    const bool is_restored = entries_.emplace(key, std::move(restored)).second;
    total_bytes_ += is_restored ? mapped_bytes : 0;
    return is_restored;
  }

  [[nodiscard]] const entry* find(const region_key& key) const {
    const auto place = entries_.find(key);
    return place == entries_.end() ? nullptr : &place->second;
  }

  [[nodiscard]] result<void> mark_ready(const region_key& key, std::uint64_t content_hash) {
    const auto place = entries_.find(key);
    if (place == entries_.end()) {
      return no_such_region(key, "mark ready");
    }
    place->second.ready_hash = content_hash;
    return {};
  }

  [[nodiscard]] std::optional<std::uint64_t> ready_hash(const region_key& key) const {
    const auto place = entries_.find(key);
    return place == entries_.end() ? std::nullopt : place->second.ready_hash;
  }

  [[nodiscard]] bool holds(const region_key& key) const { return entries_.contains(key); }

  /// What the vault keeps about a region's memory; null when there is no such region.
  [[nodiscard]] Memory* memory_of(const region_key& key) {
    const auto place = entries_.find(key);
    return place == entries_.end() ? nullptr : &place->second.memory;
  }

  /// Takes the region out; its memory is the caller's.
  [[nodiscard]] result<entry> release(const region_key& key) {
    auto node = entries_.extract(key);
    if (node.empty()) {
      return no_such_region(key, "release");
    }
    total_bytes_ -= node.mapped().mapped_bytes;
    return std::move(node.mapped());
  }

  [[nodiscard]] region_usage usage() const { return {total_bytes_, entries_.size()}; }

  [[nodiscard]] const region_limits& limits() const { return limits_; }

private:
  const region_limits limits_;
  std::map<region_key, entry> entries_;
  std::size_t total_bytes_ = 0;
};

} // namespace vdist::vault
