#include "runtime/kv/block_pool.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::kv {

namespace {

error broken(const char* rule, std::int64_t index) {
  return fail(errc::internal, fmt::format("block pool: {} (block={})", rule, index));
}

} // namespace

block_pool::block_pool(const block_pool_config& config)
    : config_(config), index_(config.blocks, config.block_size, config.salt) {
  VDIST_CHECK(config.blocks >= 1 && config.block_size >= 1, "block pool: sizes must be positive");
  blocks_.resize(static_cast<std::size_t>(config.blocks));
  free_.reserve(blocks_.size());
  exposed_.reserve(blocks_.size());
  for (auto index = config.blocks - 1; index >= 0; --index) {
    free_.push_back(index);
  }
}

block_pool::block& block_pool::at(block_id id) {
  VDIST_CHECK(id.value >= 0 && id.value < config_.blocks, "block pool: no such block");
  return blocks_[static_cast<std::size_t>(id.value)];
}

const block_pool::block& block_pool::at(block_id id) const {
  VDIST_CHECK(id.value >= 0 && id.value < config_.blocks, "block pool: no such block");
  return blocks_[static_cast<std::size_t>(id.value)];
}

std::int32_t block_pool::refs(block_id block) const {
  return at(block).refs;
}

bool block_pool::can_reserve(std::int32_t count, std::span<const block_id> hits) const {
  const auto kept = std::count_if(hits.begin(), hits.end(), [this](block_id id) {
    return at(id).where == state::cached && !at(id).is_exposed;
  });
  return count <= available_count() - kept;
}

prefix_node block_pool::match(std::span<const token_id> tokens,
                              std::int32_t blocks_max,
                              std::vector<block_id>& hits) const {
  hits.clear();
  prefix_node node;
  if (!config_.prefix_cache) {
    return node;
  }
  const auto size = static_cast<std::size_t>(config_.block_size);
  const auto full = static_cast<std::int32_t>(tokens.size() / size);
  for (std::int32_t i = 0; i < std::min(full, blocks_max); ++i) {
    const auto found = index_.find(node, tokens.subspan(static_cast<std::size_t>(i) * size, size));
    if (!found) {
      break;
    }
    hits.push_back(found->block);
    node = found->node;
  }
  return node;
}

void block_pool::reserve(std::int32_t count, std::vector<block_id>& out) {
  VDIST_CHECK(count >= 0 && count <= available_count(), "K-1: reserve without can_reserve");
  for (std::int32_t i = 0; i < count; ++i) {
    std::int32_t index = 0;
    if (free_.empty()) {
      index = evict_oldest();
    } else {
      index = free_.back();
      free_.pop_back();
    }
    auto& taken = blocks_[static_cast<std::size_t>(index)];
    taken.where = state::owned;
    taken.refs = 1;
    out.push_back(block_id(index));
  }
}

void block_pool::adopt(std::span<const block_id> blocks) {
  VDIST_CHECK(free_count() == config_.blocks, "K-1: blocks are adopted by a new pool only");
  for (const auto id : blocks) {
    auto& held = at(id);
    held.where = state::owned;
    ++held.refs;
  }
  std::erase_if(free_, [this](std::int32_t index) {
    return blocks_[static_cast<std::size_t>(index)].where == state::owned;
  });
}

void block_pool::retain(std::span<const block_id> blocks) {
  for (const auto id : blocks) {
    auto& held = at(id);
    VDIST_CHECK(held.where != state::free, "K-1: a free block has no content to share");
    if (held.where == state::cached) {
      unlink(id.value);
      held.where = state::owned;
    }
    ++held.refs;
  }
}

void block_pool::release(std::span<const block_id> blocks) {
  for (auto i = blocks.size(); i > 0; --i) {
    const auto id = blocks[i - 1];
    auto& dropped = at(id);
    VDIST_CHECK(dropped.where == state::owned && dropped.refs > 0,
                "K-2: a released block must be referenced");
    if (--dropped.refs > 0) {
      continue;
    }
    if (index_.contains(id)) {
      dropped.where = state::cached;
      link_newest(id.value);
    } else {
      set_free(id.value);
    }
  }
}

void block_pool::expose(std::span<const block_id> blocks) {
  for (const auto id : blocks) {
    auto& exposed = at(id);
    VDIST_CHECK(exposed.where == state::owned, "K-5: only an owned block is exposed");
    if (!std::exchange(exposed.is_exposed, true)) {
      exposed_.push_back(id.value);
    }
  }
}

void block_pool::lift() {
  for (const auto index : exposed_) {
    auto& lifted = blocks_[static_cast<std::size_t>(index)];
    lifted.is_exposed = false;
    if (lifted.where == state::free) {
      free_.push_back(index);
    }
  }
  exposed_.clear();
  held_free_ = 0;
  held_cached_ = 0;
}

void block_pool::set_free(std::int32_t index) {
  auto& freed = blocks_[static_cast<std::size_t>(index)];
  freed.where = state::free;
  if (freed.is_exposed) {
    ++held_free_;
  } else {
    free_.push_back(index);
  }
}

prefix_node
block_pool::publish(const prefix_node& parent, std::span<const token_id> tokens, block_id block) {
  VDIST_CHECK(at(block).where == state::owned, "K-4: only an owned block is published");
  if (!config_.prefix_cache) {
    return {};
  }
  if (index_.contains(block)) {
    const auto found = index_.find(parent, tokens);
    VDIST_CHECK(found && found->block == block, "K-4: a published block has one content");
    return found->node;
  }
  return index_.insert(parent, tokens, block);
}

void block_pool::forget_content() {
  index_.clear();
  while (oldest_ >= 0) {
    const auto index = oldest_;
    unlink(index);
    set_free(index);
  }
}

void block_pool::link_newest(std::int32_t index) {
  auto& added = blocks_[static_cast<std::size_t>(index)];
  added.older = newest_;
  added.newer = -1;
  (newest_ >= 0 ? blocks_[static_cast<std::size_t>(newest_)].newer : oldest_) = index;
  newest_ = index;
  ++cached_count_;
  held_cached_ += added.is_exposed ? 1 : 0;
}

void block_pool::unlink(std::int32_t index) {
  auto& gone = blocks_[static_cast<std::size_t>(index)];
  (gone.older >= 0 ? blocks_[static_cast<std::size_t>(gone.older)].newer : oldest_) = gone.newer;
  (gone.newer >= 0 ? blocks_[static_cast<std::size_t>(gone.newer)].older : newest_) = gone.older;
  gone.older = -1;
  gone.newer = -1;
  --cached_count_;
  held_cached_ -= gone.is_exposed ? 1 : 0;
}

/// Passes over those that are exposed.
std::int32_t block_pool::evict_oldest() {
  auto index = oldest_;
  while (blocks_[static_cast<std::size_t>(index)].is_exposed) {
    index = blocks_[static_cast<std::size_t>(index)].newer;
  }
  unlink(index);
  index_.erase(block_id(index));
  ++evictions_;
  return index;
}

/// K-5. Free ones are put down in `listed`.
result<void> block_pool::check_exposed(std::vector<std::uint8_t>& listed) const {
  std::int32_t free = 0;
  std::int32_t cached = 0;
  for (const auto index : exposed_) {
    const auto& entry = blocks_[static_cast<std::size_t>(index)];
    const bool is_free = entry.where == state::free;
    if (!entry.is_exposed || (is_free && listed[static_cast<std::size_t>(index)]++ != 0)
        || (is_free && index_.contains(block_id(index)))) {
      return broken("K-5: an exposed block is listed wrongly", index);
    }
    free += is_free ? 1 : 0;
    cached += entry.where == state::cached ? 1 : 0;
  }
  const auto exposed = std::count_if(
      blocks_.begin(), blocks_.end(), [](const block& entry) { return entry.is_exposed; });
  return exposed == std::ssize(exposed_) && free == held_free_ && cached == held_cached_
             ? result<void>()
             : broken("K-5: exposed blocks are miscounted", exposed);
}

result<void> block_pool::check_integrity() const {
  std::vector<std::uint8_t> listed(blocks_.size(), 0);
  for (const auto index : free_) {
    const auto& entry = blocks_[static_cast<std::size_t>(index)];
    if (entry.where != state::free || entry.is_exposed
        || listed[static_cast<std::size_t>(index)]++ != 0) {
      return broken("K-1: the free list holds a block that is not free, or twice", index);
    }
    if (index_.contains(block_id(index))) {
      return broken("K-4: a free block is published", index);
    }
  }
  VDIST_TRY(check_exposed(listed));
  std::int32_t cached = 0;
  std::int32_t previous = -1;
  for (auto i = oldest_; i >= 0; i = blocks_[static_cast<std::size_t>(i)].newer) {
    const auto& entry = blocks_[static_cast<std::size_t>(i)];
    if (entry.where != state::cached || listed[static_cast<std::size_t>(i)]++ != 0
        || entry.older != previous || !index_.contains(block_id(i))) {
      return broken("K-1: the cached list is broken", i);
    }
    previous = i;
    ++cached;
  }
  if (previous != newest_ || cached != cached_count_) {
    return broken("K-1: cached blocks are lost", newest_);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const bool is_owned = blocks_[i].where == state::owned;
    if (is_owned == (listed[i] != 0)) {
      return broken("K-1: a block is in no place or in two", static_cast<std::int64_t>(i));
    }
    if (is_owned != (blocks_[i].refs > 0)) {
      return broken("K-2: references do not match the place", static_cast<std::int64_t>(i));
    }
  }
  return index_.check_integrity();
}

} // namespace vdist::kv
