#include "actors/gateway/layer_rows.hpp"

#include "transport/shm/shm_ring.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <span>
#include <utility>

namespace vdist::actors {

namespace {

/// What a ring takes for itself of a slot is less than an envelope.
constexpr std::size_t slot_overhead = 2 * sizeof(frame::envelope) + sizeof(layer_row_head);
/// The smallest slot of a ring.
constexpr std::size_t slot_min = 256;

/// A row never travels in two slots: what a killed writer leaves is a row or nothing.
shm::ring_shape shape_of(const layer_order& order, std::int32_t width) {
  const auto bytes =
      std::max(slot_min, slot_overhead + static_cast<std::size_t>(width) * sizeof(float));
  return {.readers_max = 1,
          .slots = order.rows,
          .slot_bytes = (bytes + shm::line_bytes - 1) / shm::line_bytes * shm::line_bytes};
}

std::size_t region_bytes(const shm::ring_shape& shape) {
  return sizeof(layer_row_counts) + shm::ring_bytes(shape);
}

std::span<std::byte> ring_in(const vault::region& region) {
  return region.memory.subspan(sizeof(layer_row_counts));
}

template <class End>
layer_rows_end<End> end_of(const vault::region& region, std::unique_ptr<End> ring) {
  return {.ring = std::move(ring),
          .counts = std::launder(reinterpret_cast<layer_row_counts*>(region.memory.data())),
          .hold = region.hold};
}

} // namespace

result<layer_rows_reader> make_layer_rows(const layer_order& order,
                                          std::int32_t width,
                                          vault::vault& memory,
                                          const frame::wait_policy& waits) {
  const auto shape = shape_of(order, width);
  VDIST_ASSIGN(const auto region, memory.map(layer_rows_key(order), region_bytes(shape)));
  VDIST_TRY(shm::format_ring(ring_in(region), shape));
  VDIST_ASSIGN(const auto ring, shm::shm_ring::open(ring_in(region), {.hold = region.hold}, waits));
  VDIST_ASSIGN(auto reader,
               ring.open_reader(0,
                                {.protocol = layer_rows_protocol,
                                 .version_min = layer_rows_version,
                                 .version_max = layer_rows_version,
                                 .sender = order.rank}));
  return end_of(region, std::move(reader));
}

result<layer_rows_writer> open_layer_rows(const layer_order& order,
                                          std::int32_t width,
                                          vault::vault& memory,
                                          const frame::wait_policy& waits) {
  const auto key = layer_rows_key(order);
  VDIST_ASSIGN(const auto region, memory.map(key, region_bytes(shape_of(order, width))));
  if (region.is_new) { // made by this very call: nobody else knows it
    VDIST_TRY(memory.release(key));
    return fail(
        errc::stale,
        fmt::format("layer rows: the watch is over (rank={} layer={})", order.rank, order.layer));
  }
  memory.forget(key); // the end alone keeps it mapped
  VDIST_ASSIGN(const auto ring, shm::shm_ring::open(ring_in(region), {.hold = region.hold}, waits));
  VDIST_ASSIGN(auto writer, ring.open_writer());
  return end_of(region, std::move(writer));
}

} // namespace vdist::actors
