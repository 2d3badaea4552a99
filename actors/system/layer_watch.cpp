#include "actors/system/layer_watch.hpp"

#include "model/exec/layer_tap.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace vdist::actors {

namespace {

bool is_free(const std::atomic<layer_order>& place) {
  return place.load().number == 0;
}

void release_rows(const layer_order& order, vault::vault& memory) {
  if (auto released = memory.release(layer_rows_key(order)); !released) {
    log::debug("watch layer: {}",
               released.error().context); // the vault has ended, or its region is new
  }
}

result<layer_row> decode_row(const frame::frame_view& frame) {
  layer_row_head head;
  if (frame.body.size() < sizeof(head)) {
    return fail(errc::corrupt, "watch layer: a row is too short");
  }
  std::memcpy(&head, frame.body.data(), sizeof(head));
  const auto floats = frame.body.subspan(sizeof(head));
  if (head.width < 0 || floats.size() != static_cast<std::size_t>(head.width) * sizeof(float)) {
    return fail(errc::corrupt,
                fmt::format("watch layer: a row has another size than it says (bytes={} width={})",
                            floats.size(),
                            head.width));
  }
  layer_row row{.request = request_id(head.request_id),
                .position = head.position,
                .layer = head.layer,
                .step = head.step,
                .epoch = head.epoch,
                .values = std::vector<float>(static_cast<std::size_t>(head.width))};
  std::memcpy(row.values.data(), floats.data(), floats.size());
  return row;
}

} // namespace

result<std::unique_ptr<layer_watch>> layer_watch::start(const layer_watch_config& config,
                                                        std::int32_t width,
                                                        layer_orders& orders,
                                                        const layer_watch_links& links,
                                                        const frame::wait_policy& waits) {
  if (config.rows_max < watched_rows_min || config.rows_max > watched_rows_max) {
    return fail(errc::invalid_argument,
                fmt::format("watch layer: rows_max is out of its range (asked={} legal={} to {})",
                            config.rows_max,
                            watched_rows_min,
                            watched_rows_max));
  }
  const std::lock_guard lock(*links.mutex);
  if (const auto other = orders.find(rank_id(config.rank)); other.number != 0) {
    return fail(
        errc::invalid_argument,
        fmt::format("watch layer: rank {} is watched already (layer={}); one watch per rank",
                    config.rank,
                    other.layer));
  }
  const auto place = std::find_if(orders.places.begin(), orders.places.end(), is_free);
  if (place == orders.places.end()) {
    return fail(
        errc::resource_exhausted,
        fmt::format("watch layer: too many ranks of the replica are watched (legal=up to {})",
                    layer_watches_max));
  }
  const layer_order order{.number = orders.next_number(),
                          .rank = static_cast<std::uint16_t>(config.rank),
                          .layer = static_cast<std::int16_t>(config.layer),
                          .rows = static_cast<std::uint16_t>(config.rows_max)};
  auto rows = make_layer_rows(order, width, *links.memory, waits);
  if (!rows) {
    release_rows(order, *links.memory); // it may be there and not have become a ring
    return rows.error();
  }
  std::unique_ptr<layer_watch> made(new layer_watch(*place, order, std::move(*rows), links, waits));
  place->store(order, std::memory_order_release); // the ring is there
  return made;
}

layer_watch::~layer_watch() {
  {
    const std::lock_guard lock(*links_.mutex);
    place_->store({}, std::memory_order_release);
  }
  rows_.ring->close(); // a writer that has not looked yet finds no reader
  release_rows(order_, *links_.memory);
}

result<std::optional<layer_row>> layer_watch::next(duration timeout) {
  const auto frame = rows_.ring->read(waits_.now() + timeout);
  if (!frame && frame.error().code == errc::timed_out) {
    return std::optional<layer_row>();
  }
  if (!frame) {
    return frame.error();
  }
  VDIST_ASSIGN(auto row, decode_row(*frame));
  return std::optional(std::move(row));
}

result<void> check_layer_watch(const model_setup& setup, const layer_watch_config& config) {
  if (setup.device == config::device_kind::sim) {
    return fail(errc::unsupported,
                "watch layer: the sim device computes no activations (legal: cpu, cuda)");
  }
  const auto& layout = *setup.layout;
  if (config.rank < 0 || config.rank >= layout.world()) {
    return fail(errc::invalid_argument,
                fmt::format("watch layer: no such rank (asked={} legal=0 to {})",
                            config.rank,
                            layout.world() - 1));
  }
  const auto place = layout.shard_of(rank_id(config.rank));
  const auto first = place.is_first_stage() ? exec::embedding_output : place.layers.first;
  const auto last =
      std::min<std::int32_t>(place.layers.last - 1, std::numeric_limits<std::int16_t>::max());
  if (config.layer < first || config.layer > last) {
    return fail(
        errc::invalid_argument,
        fmt::format("watch layer: rank {} does not have this layer (asked={} legal={} to {})",
                    config.rank,
                    config.layer,
                    first,
                    last));
  }
  return {};
}

void end_layer_watches(layer_orders& orders, vault::vault& memory) {
  for (auto& place : orders.places) {
    const auto order = place.exchange({});
    if (order.number != 0) {
      release_rows(order, memory);
    }
  }
}

} // namespace vdist::actors
