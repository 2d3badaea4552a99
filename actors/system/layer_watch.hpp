// actors/system/layer_watch.hpp — the output of one layer on one rank, while the engine runs: the residual stream behind it,
// a row per token that the rank computes, as float32. An instrument for people who look into a model.
//
//   VDIST_ASSIGN(auto watch, engine->watch_layer({.layer = 5, .rank = 2}));
//   while (auto row = watch->next(1s)) { … } // nullopt inside: nothing new yet
//
// W-1 No token depends on it, and no step waits for whoever reads: rows that find no room are lost() and counted.
// W-2 It goes on when the worker dies, and over epochs. Rows are written before their step can be committed: of what a
//     generation is made of, each row comes or is counted as lost. A step that runs again writes its rows again, with the
//     same values on a CPU; `epoch` and `step` tell which is which.
// W-3 Positions whose KV comes from the prefix cache are not computed and have no row. Steps that were planned before the
//     watch began may run without it.
// W-4 A control process that ends takes its watches along.
// A watched step of a GPU is not replayed from a recording, and the host waits for the layer: it is slower.
// Threads: one reader at a time; lost() and close() by any. Ends before its engine.
#pragma once

#include "actors/gateway/layer_rows.hpp"
#include "actors/system/model_setup.hpp"

#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace vdist::actors {

/// Bounds of layer_watch_config::rows_max.
inline constexpr std::int32_t watched_rows_min = 2;
inline constexpr std::int32_t watched_rows_max = 65535;

struct layer_watch_config {
  std::int32_t layer =
      0; // of the whole model, from 0; exec::embedding_output (-1): what layer 0 reads
  std::int32_t rank = 0; // global; has the layer
  /// Rows that wait for their reader; also of one step, so at least scheduler.max_batch_tokens loses none of a full one.
  /// Bounds the memory: rows_max * (hidden * 4 + 256) bytes in the vault, and once more in the worker.
  std::int32_t rows_max = 1024;
};

/// What a layer put out for one token.
struct layer_row {
  request_id request;        // text_stream::id()
  std::int32_t position = 0; // of the token in its sequence, from 0
  std::int32_t layer = 0;
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;
  std::vector<float> values; // [hidden]
};

/// Borrowed; both outlive the watch.
struct layer_watch_links {
  vault::vault* memory = nullptr;
  std::mutex* mutex = nullptr; // of whoever changes the orders
};

class layer_watch {
public:
  /// Puts the order among those of the rank's replica (kept mapped by `orders`' hold). `width`: of a row. The rank has the
  /// layer: engine::watch_layer() has looked. Errors: invalid_argument (rows_max, the rank is watched already),
  /// resource_exhausted (layer_watches_max, memory).
  [[nodiscard]] static result<std::unique_ptr<layer_watch>> start(const layer_watch_config& config,
                                                                  std::int32_t width,
                                                                  layer_orders& orders,
                                                                  const layer_watch_links& links,
                                                                  const frame::wait_policy& waits);

  /// The worker stops copying with its next step.
  ~layer_watch();
  layer_watch(const layer_watch&) = delete;
  layer_watch& operator=(const layer_watch&) = delete;

  /// The oldest row that was not read. nullopt: none came within `timeout`. Errors: corrupt (one row was damaged; the next
  /// call goes on behind it), closed (close()).
  [[nodiscard]] result<std::optional<layer_row>> next(duration timeout);

  /// Nothing comes any more: who waits in next() comes back at once. The order stays until the watch is destroyed.
  void close() noexcept { rows_.ring->close(); }

  /// Rows that were computed and will not come.
  [[nodiscard]] std::uint64_t lost() const { return rows_.counts->lost.load(); }

private:
  layer_watch(std::atomic<layer_order>& place,
              const layer_order& order,
              layer_rows_reader rows,
              const layer_watch_links& links,
              const frame::wait_policy& waits)
      : place_(&place), order_(order), rows_(std::move(rows)), links_(links), waits_(waits) {}

  std::atomic<layer_order>* place_;
  layer_order order_;
  layer_rows_reader rows_;
  layer_watch_links links_;
  frame::wait_policy waits_;
};

/// Whether there is such a layer at such a rank. Errors: unsupported (nothing is computed), invalid_argument; the text names
/// what is legal.
[[nodiscard]] result<void> check_layer_watch(const model_setup& setup,
                                             const layer_watch_config& config);

/// Ends what a control process before this one has watched: nobody reads it.
void end_layer_watches(layer_orders& orders, vault::vault& memory);

} // namespace vdist::actors
