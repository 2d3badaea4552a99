#include "runtime/kv/prefix_index.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <xxhash.h>

namespace vdist::kv {

std::uint64_t chained_hash(std::uint64_t before, std::span<const token_id> tokens) {
  return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), before);
}

void chain_of(std::span<const token_id> tokens,
              std::int32_t block_size,
              std::int32_t blocks_max,
              std::uint64_t salt,
              std::vector<std::uint64_t>& out) {
  const auto size = static_cast<std::size_t>(block_size);
  const auto blocks = std::min(tokens.size() / size, static_cast<std::size_t>(blocks_max));
  out.clear();
  for (std::size_t block = 0; block < blocks; ++block) {
    out.push_back(chained_hash(block == 0 ? salt : out.back(), tokens.subspan(block * size, size)));
  }
}

prefix_index::prefix_index(std::int32_t blocks,
                           std::int32_t block_size,
                           std::uint64_t salt,
                           std::uint64_t hash_mask)
    : block_size_(block_size),
      salt_(salt),
      hash_mask_(hash_mask),
      bucket_mask_(std::bit_ceil(static_cast<std::uint64_t>(blocks) * 2) - 1),
      buckets_(bucket_mask_ + 1, -1),
      entries_(static_cast<std::size_t>(blocks)),
      tokens_(static_cast<std::size_t>(blocks) * static_cast<std::size_t>(block_size)) {}

std::uint64_t prefix_index::hash_of(const prefix_node& parent,
                                    std::span<const token_id> tokens) const {
  return chained_hash(parent.serial == 0 ? salt_ : parent.hash, tokens) & hash_mask_;
}

std::int32_t& prefix_index::bucket_of(std::uint64_t hash) {
  return buckets_[static_cast<std::size_t>(hash & bucket_mask_)];
}

std::int32_t prefix_index::lookup(std::uint64_t parent,
                                  std::uint64_t hash,
                                  std::span<const token_id> tokens) const {
  auto index = buckets_[static_cast<std::size_t>(hash & bucket_mask_)];
  while (index >= 0) {
    const auto& candidate = entries_[static_cast<std::size_t>(index)];
    if (candidate.hash == hash && candidate.parent == parent) {
      const auto first = static_cast<std::ptrdiff_t>(index) * block_size_;
      if (std::equal(tokens.begin(), tokens.end(), tokens_.begin() + first)) {
        return index;
      }
    }
    index = candidate.next;
  }
  return -1;
}

std::optional<prefix_index::hit> prefix_index::find(const prefix_node& parent,
                                                    std::span<const token_id> tokens) const {
  VDIST_CHECK(tokens.size() == static_cast<std::size_t>(block_size_), "X-1: only full blocks");
  const auto hash = hash_of(parent, tokens);
  const auto index = lookup(parent.serial, hash, tokens);
  if (index < 0) {
    return std::nullopt;
  }
  return hit{block_id(index), {entries_[static_cast<std::size_t>(index)].serial, hash}};
}

prefix_node
prefix_index::insert(const prefix_node& parent, std::span<const token_id> tokens, block_id block) {
  VDIST_CHECK(tokens.size() == static_cast<std::size_t>(block_size_), "X-1: only full blocks");
  VDIST_CHECK(!contains(block), "X-1: a block is entered once");
  const auto hash = hash_of(parent, tokens);
  const auto present = lookup(parent.serial, hash, tokens);
  if (present >= 0) {
    return {entries_[static_cast<std::size_t>(present)].serial, hash};
  }
  auto& bucket = bucket_of(hash);
  auto& fresh = entries_[static_cast<std::size_t>(block.value)];
  fresh = {++serial_last_, parent.serial, hash, bucket};
  bucket = block.value;
  std::copy(tokens.begin(),
            tokens.end(),
            tokens_.begin() + static_cast<std::ptrdiff_t>(block.value) * block_size_);
  ++size_;
  if (shown_ != nullptr) {
    shown_->add(hash);
  }
  return {fresh.serial, hash};
}

bool prefix_index::contains(block_id block) const {
  return entries_[static_cast<std::size_t>(block.value)].serial != 0;
}

void prefix_index::erase(block_id block) {
  VDIST_CHECK(contains(block), "X-1: only an entered block can be taken out");
  auto& gone = entries_[static_cast<std::size_t>(block.value)];
  auto* link = &bucket_of(gone.hash);
  while (*link != block.value) {
    link = &entries_[static_cast<std::size_t>(*link)].next;
  }
  *link = gone.next;
  if (shown_ != nullptr) {
    shown_->remove(gone.hash);
  }
  gone = {};
  --size_;
}

void prefix_index::clear() {
  std::fill(buckets_.begin(), buckets_.end(), -1);
  std::fill(entries_.begin(), entries_.end(), entry{});
  size_ = 0;
  if (shown_ != nullptr) {
    shown_->clear();
  }
}

void prefix_index::show_in(published_prefixes& shown) {
  shown_ = &shown;
  shown.clear();
  for (const auto& one : entries_) {
    if (one.serial != 0) {
      shown.add(one.hash);
    }
  }
}

result<void> prefix_index::check_integrity() const {
  std::int32_t reached = 0;
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    for (auto i = buckets_[b]; i >= 0; i = entries_[static_cast<std::size_t>(i)].next) {
      const auto& entry = entries_[static_cast<std::size_t>(i)];
      if (entry.serial == 0 || entry.serial > serial_last_ || (entry.hash & bucket_mask_) != b
          || ++reached > size_) {
        return fail(errc::internal, fmt::format("prefix index: bad entry (block={})", i));
      }
    }
  }
  const auto entered =
      std::count_if(entries_.begin(), entries_.end(), [](const entry& e) { return e.serial != 0; });
  if (reached != size_ || entered != size_) {
    return fail(errc::internal,
                fmt::format("prefix index: entries are lost (size={} reached={} entered={})",
                            size_,
                            reached,
                            entered));
  }
  return {};
}

} // namespace vdist::kv
