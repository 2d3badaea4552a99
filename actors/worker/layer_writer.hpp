// actors/worker/layer_writer.hpp — what a worker does for those who watch a layer of its rank: looks before each step whether
// anybody does (gateway/layer_orders.hpp), and writes the rows of the step into the ring that was made for it.
// L-12 It neither waits nor fails: what finds no room is counted as lost, and a ring that cannot be opened is logged once.
// Not thread-safe: the thread that runs the steps.
#pragma once

#include "actors/gateway/layer_rows.hpp"

#include "model/exec/layer_tap.hpp"

#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace vdist::actors {

class layer_writer final : public exec::layer_tap {
public:
  /// `width`: of the residual stream. All that is borrowed outlives this.
  layer_writer(rank_id rank,
               std::int32_t width,
               const layer_orders& orders,
               vault::vault& memory,
               const frame::wait_policy& waits)
      : rank_(rank), width_(width), orders_(&orders), memory_(&memory), waits_(&waits) {}

  [[nodiscard]] std::optional<exec::tap_order> wanted() noexcept override;
  void take(const exec::tapped_step& step) noexcept override;

private:
  void follow(const layer_order& order) noexcept;
  [[nodiscard]] bool write(const layer_row_head& head, const float* values);

  rank_id rank_;
  std::int32_t width_;
  const layer_orders* orders_;
  vault::vault* memory_;
  const frame::wait_policy* waits_;
  layer_order order_;      // the last one seen
  layer_rows_writer rows_; // of it; without a ring: it could not be opened, or nobody watches
  std::vector<std::byte> body_;
};

} // namespace vdist::actors
