// actors/gateway/layer_rows.hpp — the way of a watched layer's rows from its worker to whoever watches: a region of the vault,
// made for one order (layer_orders.hpp), with a ring of rows in it, a slot each. Nothing is decided by what it carries; plans,
// results and mailboxes know nothing of it.
//
//   control ──layer_order──▶ worker       a word
//   worker ──rows──▶ control              a frame each: layer_row_head, then `width` floats
//
// R-1 The writer never waits: a row that finds no room is counted in `lost` and dropped.
// R-2 Rows belong to the rank, not to an incarnation or epoch: a successor of the worker takes the ring's writing end over.
//     Envelopes say epoch 0; the row's own epoch is in its head.
// R-3 The region is released with its order; a worker keeps it mapped until it looks at the orders again.
#pragma once

#include "actors/gateway/layer_orders.hpp"

#include "transport/frame/channel.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/result.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace vdist::actors {

/// Of their envelopes (runtime/protocol has 1 and 2).
inline constexpr std::uint16_t layer_rows_protocol = 3;
inline constexpr std::uint16_t layer_rows_version = 1;
inline constexpr std::uint16_t layer_row_kind = 1;

/// In front of the floats of a row.
struct layer_row_head {
  std::uint64_t request_id = 0;
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;
  std::int32_t position = 0; // of the token in its sequence
  std::int32_t layer = 0;
  std::int32_t width = 0; // floats that follow
};

static_assert(sizeof(layer_row_head) == 32, "sent as bytes: fixed size");
static_assert(std::has_unique_object_representations_v<layer_row_head>,
              "sent as bytes: no padding");

/// In front of the ring. Zero-filled memory is its beginning.
struct alignas(64) layer_row_counts {
  std::atomic<std::uint64_t> lost; // rows that were computed and are not in the ring
};

[[nodiscard]] inline vault::region_key layer_rows_key(const layer_order& order) {
  return {.rank = rank_id(order.rank), .kind = vault::region_kind::custom, .index = order.number};
}

/// Either end, with what keeps the region mapped.
template <class End>
struct layer_rows_end {
  std::unique_ptr<End> ring;
  layer_row_counts* counts = nullptr;
  std::shared_ptr<const void> hold;
};

using layer_rows_reader = layer_rows_end<frame::frame_reader>;
using layer_rows_writer = layer_rows_end<frame::frame_writer>;

/// Makes the region for rows of `width` floats. `order` has 2 rows or more. Errors: resource_exhausted (memory).
[[nodiscard]] result<layer_rows_reader> make_layer_rows(const layer_order& order,
                                                        std::int32_t width,
                                                        vault::vault& memory,
                                                        const frame::wait_policy& waits);

/// The worker's end. Error: stale, when the order is over already.
[[nodiscard]] result<layer_rows_writer> open_layer_rows(const layer_order& order,
                                                        std::int32_t width,
                                                        vault::vault& memory,
                                                        const frame::wait_policy& waits);

} // namespace vdist::actors
