// actors/gateway/layer_orders.hpp — which layers of a replica somebody watches: words that control process and workers share
// (regions.hpp). No message orders a watch: a worker looks here before each step, so a successor, in a new process or
// epoch, goes on without being told, and with nothing watched a step costs the look at one line of the cache.
//
// O-1 An order is one word, changed at once. Its number names the region that the rows go to (layer_rows.hpp).
// O-2 A rank has one order at most: the control process sees to it.
// The control process writes, one thread at a time; workers read.
#pragma once

#include "runtime/base/ids.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace vdist::actors {

/// Ranks of a replica that are watched at a time.
inline constexpr std::size_t layer_watches_max = 8;

struct layer_order {
  std::uint16_t number = 0; // 0: there is none
  std::uint16_t rank = 0;   // global
  std::int16_t layer = 0;   // of the whole model, or exec::embedding_output
  std::uint16_t rows = 0;   // slots of the ring

  bool operator==(const layer_order&) const = default;
};

static_assert(sizeof(layer_order) == 8 && std::has_unique_object_representations_v<layer_order>);
static_assert(std::atomic<layer_order>::is_always_lock_free);

/// Zero-filled memory is its beginning.
struct layer_orders {
  alignas(64) std::array<std::atomic<layer_order>, layer_watches_max> places;
  std::atomic<std::uint16_t> last; // number that was used

  /// The order for a rank; a number of 0: none.
  [[nodiscard]] layer_order find(rank_id rank) const noexcept {
    for (const auto& place : places) {
      const auto order = place.load(std::memory_order_acquire);
      if (order.number != 0 && order.rank == rank.value) {
        return order;
      }
    }
    return {};
  }

  /// A number that no order has: it comes round after 65,535 orders.
  [[nodiscard]] std::uint16_t next_number() noexcept {
    std::uint16_t number = 0;
    while (number == 0 || is_used(number)) {
      number = static_cast<std::uint16_t>(last.load() + 1);
      last.store(number);
    }
    return number;
  }

private:
  [[nodiscard]] bool is_used(std::uint16_t number) const noexcept {
    for (const auto& place : places) {
      if (place.load().number == number) {
        return true;
      }
    }
    return false;
  }
};

} // namespace vdist::actors
