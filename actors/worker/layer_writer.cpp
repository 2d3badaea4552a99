#include "actors/worker/layer_writer.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace vdist::actors {

std::optional<exec::tap_order> layer_writer::wanted() noexcept {
  const auto order = orders_->find(rank_);
  if (order != order_) [[unlikely]] {
    follow(order);
  }
  return rows_.ring ? std::optional(exec::tap_order{order.layer, order.rows}) : std::nullopt;
}

void layer_writer::follow(const layer_order& order) noexcept {
  rows_ = {};
  order_ = order;
  if (order.number == 0) {
    return;
  }
  try {
    body_.resize(sizeof(layer_row_head) + static_cast<std::size_t>(width_) * sizeof(float));
    auto opened = open_layer_rows(order, width_, *memory_, *waits_);
    if (opened) {
      rows_ = std::move(*opened);
    } else if (opened.error().code != errc::stale) {
      log::warn(
          "worker: a layer is not watched (rank={}): {}", rank_.value, opened.error().context);
    }
  } catch (const std::exception& cause) {
    log::warn("worker: a layer is not watched (rank={}): {}", rank_.value, cause.what());
  }
}

void layer_writer::take(const exec::tapped_step& step) noexcept {
  std::int32_t written = 0;
  bool has_room = true; // a step that meets a full ring does not try again row by row
  for (std::size_t sequence = 0; has_room && sequence < step.request_ids.size(); ++sequence) {
    const auto last = std::min(step.query_start[sequence + 1], step.rows);
    for (auto row = step.query_start[sequence]; has_room && row < last; ++row) {
      const layer_row_head head{.request_id = step.request_ids[sequence],
                                .step = step.step,
                                .epoch = step.epoch,
                                .position = step.positions[row],
                                .layer = step.layer,
                                .width = step.width};
      const auto* const values = step.values + static_cast<std::ptrdiff_t>(row) * step.width;
      has_room = write(head, values);
      written += has_room ? 1 : 0;
    }
  }
  if (written < step.tokens) {
    rows_.counts->lost.fetch_add(static_cast<std::uint64_t>(step.tokens - written));
  }
}

/// False: there is no room, or nobody reads any more.
bool layer_writer::write(const layer_row_head& head, const float* values) {
  std::memcpy(body_.data(), &head, sizeof(head));
  std::memcpy(body_.data() + sizeof(head), values, body_.size() - sizeof(head));
  const frame::envelope header{.protocol = layer_rows_protocol,
                               .version = layer_rows_version,
                               .kind = layer_row_kind,
                               .sender = rank_.value};
  return rows_.ring->write(header, body_, time_point{}).has_value();
}

} // namespace vdist::actors
