// runtime/text/lookup_tables.hpp — the two hash tables on the path of every word: text → number,
// pair → merge. Open addressing with linear probing, at most half full, filled once at load and
// then only read: lookups are safe from any thread. std::unordered_map costs three times as much
// per lookup here (one node per entry).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

/// Maps byte strings to numbers. Cost per lookup: one slot, then one comparison of the text.
class piece_table {
public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  /// Room for `count` entries of `bytes` bytes together (below 4 GiB); forgets what was there.
  void reset(std::size_t count, std::size_t bytes) {
    slots_.assign(std::bit_ceil(2 * count + 2), slot{});
    text_.clear();
    text_.reserve(bytes);
  }

  /// False, and no change, when the key is there already.
  bool insert(std::string_view key, std::uint32_t value) {
    slot& s = slots_[index_of(key)];
    if (s.value != none) {
      return false;
    }
    s = {hash_of(key),
         value,
         static_cast<std::uint32_t>(text_.size()),
         static_cast<std::uint32_t>(key.size())};
    text_.append(key);
    return true;
  }

  [[nodiscard]] std::uint32_t find(std::string_view key) const {
    return slots_[index_of(key)].value;
  }

  /// Changes the number of a key that is in the table.
  void update(std::string_view key, std::uint32_t value) { slots_[index_of(key)].value = value; }

private:
  struct slot {
    std::uint32_t hash = 0;
    std::uint32_t value = none; // none: the slot is free
    std::uint32_t offset = 0;   // into text_
    std::uint32_t bytes = 0;
  };

  static std::uint32_t hash_of(std::string_view key) {
    constexpr std::uint64_t multiplier = 0x9E3779B97F4A7C15ULL;
    std::uint64_t hash = key.size() * multiplier;
    while (!key.empty()) {
      std::uint64_t word = 0;
      const std::size_t bytes = key.size() < sizeof word ? key.size() : sizeof word;
      std::memcpy(&word, key.data(), bytes);
      hash = (hash ^ word) * multiplier;
      hash ^= hash >> 32;
      key.remove_prefix(bytes);
    }
    return static_cast<std::uint32_t>(hash);
  }

  [[nodiscard]] std::size_t index_of(std::string_view key) const {
    const std::uint32_t hash = hash_of(key);
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = hash & mask;
    while (slots_[i].value != none
           && (slots_[i].hash != hash || slots_[i].bytes != key.size()
               || std::memcmp(text_.data() + slots_[i].offset, key.data(), key.size()) != 0)) {
      i = (i + 1) & mask;
    }
    return i;
  }

  std::vector<slot> slots_ = std::vector<slot>(2);
  std::string text_; // all keys, one behind the other
};

/// What two neighbouring tokens become, and how early: lower ranks merge first.
struct pair_merge {
  static constexpr std::uint32_t no_rank = ~std::uint32_t{0};
  std::uint32_t rank = no_rank;
  std::int32_t merged = -1;
};

/// Maps pairs of token ids to merges.
class pair_table {
public:
  void reset(std::size_t count) { slots_.assign(std::bit_ceil(2 * count + 2), slot{}); }

  /// A later merge of the same pair replaces the earlier one.
  void insert(std::int32_t left, std::int32_t right, pair_merge merge) {
    const std::uint64_t key = key_of(left, right);
    slots_[index_of(key)] = {key, merge};
  }

  [[nodiscard]] pair_merge find(std::int32_t left, std::int32_t right) const {
    return slots_[index_of(key_of(left, right))].merge;
  }

private:
  static constexpr std::uint64_t free_key = ~std::uint64_t{0};

  struct slot {
    std::uint64_t key = free_key;
    pair_merge merge;
  };

  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32
           | static_cast<std::uint32_t>(right);
  }

  [[nodiscard]] std::size_t index_of(std::uint64_t key) const {
    std::uint64_t hash = key * 0x9E3779B97F4A7C15ULL;
    hash ^= hash >> 32;
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = hash & mask;
    while (slots_[i].key != key && slots_[i].key != free_key) {
      i = (i + 1) & mask;
    }
    return i;
  }

  std::vector<slot> slots_ = std::vector<slot>(2);
};

} // namespace vdist::text
