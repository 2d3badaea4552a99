// runtime/ledger/request_index.hpp — where each request is: id → entry. Internal to runtime/ledger.
// Why not std::unordered_map: one look-up per committed token, and no allocation while requests come
// and go. Open addressing, linear probing, at most half full. Not thread-safe.
#pragma once

#include "runtime/base/check.hpp"
#include "runtime/base/ids.hpp"

#include <bit>
#include <cstdint>
#include <vector>

namespace vdist::ledger {

class request_index {
public:
  static constexpr std::uint32_t none = 0xffffffff;

  /// For `capacity` requests at most.
  explicit request_index(std::size_t capacity)
      : cells_(std::bit_ceil(2 * capacity + 2)),
        shift_(64U - static_cast<unsigned>(std::bit_width(cells_.size() - 1))) {}

  /// The entry, or `none`.
  [[nodiscard]] std::uint32_t find(request_id id) const { return cells_[place_of(id)].entry; }

  /// The id is not there yet.
  void insert(request_id id, std::uint32_t entry) {
    auto& cell = cells_[place_of(id)];
    VDIST_CHECK(cell.entry == none, "request index: an id is inserted once");
    cell = {id, entry};
  }

  /// Moves up what probing would no longer find behind the gap.
  void erase(request_id id) {
    auto gap = place_of(id);
    for (auto at = next(gap); cells_[at].entry != none; at = next(at)) {
      const auto home = home_of(cells_[at].id);
      if (((at - home) & mask()) >= ((at - gap) & mask())) {
        cells_[gap] = cells_[at];
        gap = at;
      }
    }
    cells_[gap] = {};
  }

private:
  struct cell {
    request_id id;
    std::uint32_t entry = none;
  };

  [[nodiscard]] std::size_t mask() const { return cells_.size() - 1; }

  [[nodiscard]] std::size_t next(std::size_t at) const { return (at + 1) & mask(); }

  /// Fibonacci hashing: neighbouring ids end up far apart.
  [[nodiscard]] std::size_t home_of(request_id id) const {
    return static_cast<std::size_t>((id.value * 0x9e3779b97f4a7c15U) >> shift_);
  }

  /// The cell of the id, or the empty one where it would be.
  [[nodiscard]] std::size_t place_of(request_id id) const {
    auto at = home_of(id);
    while (cells_[at].entry != none && cells_[at].id != id) {
      at = next(at);
    }
    return at;
  }

  std::vector<cell> cells_;
  unsigned shift_;
};

} // namespace vdist::ledger
