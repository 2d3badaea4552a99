#include "runtime/kv/published_prefixes.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <bit>

namespace vdist::kv {

namespace {

constexpr auto relaxed =
    std::memory_order_relaxed; // a hash stands for itself: nothing else is read behind it

/// 0 stands for a free slot.
std::uint64_t key_of(std::uint64_t hash) {
  return hash != 0 ? hash : 1;
}

} // namespace

published_prefixes::published_prefixes(std::int32_t blocks)
    : mask_(std::bit_ceil(static_cast<std::size_t>(std::max(blocks, 1)) * 2) - 1),
      slots_(mask_ + 1) {}

/// The slot of the key, or the free one where it would be. A reader that meets changes all the way sees every slot once.
std::size_t published_prefixes::find(std::uint64_t key) const noexcept {
  auto at = static_cast<std::size_t>(key) & mask_;
  for (std::size_t looked = 0; looked < slots_.size(); ++looked) {
    const auto here = slots_[at].load(relaxed);
    if (here == key || here == 0) {
      return at;
    }
    at = (at + 1) & mask_;
  }
  return at;
}

void published_prefixes::add(std::uint64_t hash) noexcept {
  const auto key = key_of(hash);
  auto at = static_cast<std::size_t>(key) & mask_;
  std::size_t looked = 0;
  while (slots_[at].load(relaxed) != 0) { // B-2: also behind an equal one
    VDIST_CHECK(++looked < slots_.size(), "B-3: more hashes than blocks");
    at = (at + 1) & mask_;
  }
  slots_[at].store(key, relaxed);
}

/// Who stands behind the hole, and may stand in it, moves up, so that no search ends too early.
void published_prefixes::remove(std::uint64_t hash) noexcept {
  auto hole = find(key_of(hash));
  VDIST_CHECK(slots_[hole].load(relaxed) == key_of(hash), "B-1: only what is there is removed");
  for (auto at = (hole + 1) & mask_;; at = (at + 1) & mask_) {
    const auto key = slots_[at].load(relaxed);
    if (key == 0) {
      break;
    }
    const auto from_home = (at - static_cast<std::size_t>(key)) & mask_;
    if (from_home >= ((at - hole) & mask_)) {
      slots_[hole].store(key, relaxed);
      hole = at;
    }
  }
  slots_[hole].store(0, relaxed);
}

void published_prefixes::clear() noexcept {
  for (auto& slot : slots_) {
    slot.store(0, relaxed);
  }
}

bool published_prefixes::contains(std::uint64_t hash) const noexcept {
  const auto key = key_of(hash);
  return slots_[find(key)].load(relaxed) == key;
}

std::int32_t
published_prefixes::count_leading(std::span<const std::uint64_t> chain) const noexcept {
  std::int32_t count = 0;
  for (const auto hash : chain) {
    if (!contains(hash)) {
      break;
    }
    ++count;
  }
  return count;
}

} // namespace vdist::kv
