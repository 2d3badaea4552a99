#include "transport/vault/address_window.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <bit>

namespace vdist::vault {

address_window::address_window(std::uint64_t base, std::uint64_t bytes, std::uint64_t granule)
    : base_(base), bytes_(bytes), granule_(granule), free_{{base, base + bytes}}, next_(base) {
  VDIST_CHECK(std::has_single_bit(granule) && bytes > 0 && base % granule == 0
                  && bytes % granule == 0 && base + bytes > base,
              "W-1: the window consists of granules");
}

std::uint64_t address_window::round_up(std::uint64_t bytes) const {
  return (bytes + granule_ - 1) & ~(granule_ - 1);
}

std::optional<std::uint64_t> address_window::take(std::uint64_t bytes) {
  if (bytes == 0 || bytes > bytes_) {
    return std::nullopt;
  }
  const std::uint64_t length = round_up(bytes);
  // Behind the last range first, then the whole window once more from its beginning (W-2).
  for (const std::uint64_t from : {next_, base_}) {
    for (auto range = free_.begin(); range != free_.end(); ++range) {
      const std::uint64_t begin = std::max(range->first, from);
      if (begin < range->second && range->second - begin >= length) {
        cut(range, begin, begin + length);
        next_ = begin + length;
        return begin;
      }
    }
  }
  return std::nullopt;
}

bool address_window::take_at(std::uint64_t address, std::uint64_t bytes) {
  if (bytes == 0 || bytes > bytes_ || address < base_ || (address - base_) % granule_ != 0
      || address - base_ > bytes_ - round_up(bytes)) {
    return false;
  }
  const auto end = address + round_up(bytes);
  auto range = free_.upper_bound(address);
  if (range == free_.begin() || (--range)->second < end) {
    return false;
  }
  cut(range, address, end);
  return true;
}

void address_window::search_from(std::uint64_t end) {
  if (end > base_ && end - base_ <= bytes_) {
    next_ = base_ + round_up(end - base_);
  }
}

void address_window::cut(ranges::iterator range, std::uint64_t begin, std::uint64_t end) {
  const auto [first, last] = *range;
  free_.erase(range);
  if (first < begin) {
    free_.emplace(first, begin);
  }
  if (end < last) {
    free_.emplace(end, last);
  }
}

void address_window::give(std::uint64_t address, std::uint64_t bytes) {
  std::uint64_t begin = address;
  std::uint64_t end = address + round_up(bytes);
  const auto after = free_.lower_bound(begin);
  const auto before = after == free_.begin() ? free_.end() : std::prev(after);
  VDIST_CHECK(begin >= base_ && end > begin && end - base_ <= bytes_
                  && (after == free_.end() || end <= after->first)
                  && (before == free_.end() || before->second <= begin),
              "W-1: only what was taken is given back");
  if (after != free_.end() && after->first == end) {
    end = after->second;
    free_.erase(after);
  }
  if (before != free_.end() && before->second == begin) {
    begin = before->first;
    free_.erase(before);
  }
  free_.emplace(begin, end);
}

std::uint64_t address_window::longest_free() const {
  std::uint64_t longest = 0;
  for (const auto& [begin, end] : free_) {
    longest = std::max(longest, end - begin);
  }
  return longest;
}

} // namespace vdist::vault
