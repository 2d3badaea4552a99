// transport/vault/address_window.hpp — hands out ranges of one window of addresses.
// Why: every process maps a region at the address that the vault chose, so pointers into it mean
// the same everywhere; an address must therefore be free in processes that the vault cannot ask.
// W-1 ranges handed out lie in the window, begin at multiples of the granule and never overlap.
// W-2 a range given back is handed out again, but as late as possible: the search goes on behind
// the last range, so that whoever still holds a released region keeps its address to itself for a
// whole turn of the window. W-3 neighbours given back become one range.
// No memory is touched: only numbers. Not thread-safe. Cost: O(free ranges).
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace vdist::vault {

class address_window {
public:
  /// `base` and `bytes` are multiples of `granule`, a power of two.
  address_window(std::uint64_t base, std::uint64_t bytes, std::uint64_t granule);

  /// The first address of `bytes`, rounded up to granules; nothing when no free range is as long.
  [[nodiscard]] std::optional<std::uint64_t> take(std::uint64_t bytes);

  /// This range, as another window of the same shape handed it out. False: it is none, or not free.
  [[nodiscard]] bool take_at(std::uint64_t address, std::uint64_t bytes);

  /// Where take() looks first: behind what ends here. Ignored when it is outside.
  void search_from(std::uint64_t end);

  /// Gives back exactly what one take() handed out, with the same `bytes`.
  void give(std::uint64_t address, std::uint64_t bytes);

  /// Length of the longest range that take() could hand out.
  [[nodiscard]] std::uint64_t longest_free() const;

private:
  using ranges = std::map<std::uint64_t, std::uint64_t>; // first address → end

  [[nodiscard]] std::uint64_t round_up(std::uint64_t bytes) const;
  void cut(ranges::iterator range, std::uint64_t begin, std::uint64_t end);

  const std::uint64_t base_;
  const std::uint64_t bytes_;
  const std::uint64_t granule_;
  ranges free_;
  std::uint64_t next_; // where the search begins
};

} // namespace vdist::vault
