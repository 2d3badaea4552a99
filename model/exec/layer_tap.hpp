// model/exec/layer_tap.hpp — for whoever wants to see what a layer of a rank puts out: the residual stream behind it, of
// every token of a step, in host memory. An instrument for people: off, it costs one call per step.
//
// T-1 Neither tokens nor digests depend on a tap: it reads, and what it cannot take is lost to it alone.
// T-2 The rows of a step are handed over before launch() returns, so before anybody can answer for the step: what was not
//     handed over will be run again. A step that runs again is handed over again.
// T-3 Every token of a step is counted: `tokens` says how many there are, `rows` how many come along, the first ones.
#pragma once

#include "model/exec/device_memory.hpp"

#include "runtime/topology/parallel.hpp"

#include "kernels/device_queue.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace vdist::exec {

/// In place of a layer: what the first layer reads. Layers count from 0 over the whole model.
inline constexpr std::int32_t embedding_output = -1;

struct tap_order {
  std::int32_t layer = 0;    // or embedding_output, on the first stage
  std::int32_t rows_max = 0; // of one step; bounds the staging memory
};

/// Rows of one step behind one layer, in the order of its plan. Borrowed for a call.
struct tapped_step {
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;
  std::int32_t layer = 0;
  std::int32_t width = 0;                     // floats of a row
  std::int32_t tokens = 0;                    // of the step
  std::int32_t rows = 0;                      // at most `tokens`
  std::span<const std::uint64_t> request_ids; // [sequences]
  const std::int32_t* query_start = nullptr;  // [sequences + 1], first row of each sequence
  const std::int32_t* positions = nullptr;    // [tokens], of each row's token in its sequence
  const float* values = nullptr;              // [rows, width]
};

/// Called by the thread that runs the steps.
class layer_tap {
public:
  virtual ~layer_tap() = default;

  /// Once per step, before it runs. nullopt: nothing. A layer that the rank does not have is nothing, too.
  [[nodiscard]] virtual std::optional<tap_order> wanted() noexcept = 0;

  /// T-2. Must not block.
  virtual void take(const tapped_step& step) noexcept = 0;
};

/// Where a rank keeps what it copies for its tap. The queue outlives it. Not thread-safe.
class layer_copy {
public:
  /// `tap` may be null.
  layer_copy(layer_tap* tap,
             const topology::shard& place,
             std::int32_t width,
             kernels::device_queue& queue)
      : tap_(tap), place_(place), width_(width), queue_(&queue) {}

  /// Asks what is wanted of the step that comes next.
  void begin_step();

  [[nodiscard]] bool is_on() const noexcept { return order_.has_value(); }

  /// How many of this stage's layers run before the copy; the step is_on().
  [[nodiscard]] std::size_t layers_before() const noexcept;

  /// Copies what fits of [tokens, width], device memory, into host memory; done when the queue has passed mark().
  void copy(const float* stream, std::int32_t tokens) noexcept;

  [[nodiscard]] kernels::queue_mark mark() const noexcept { return mark_; }

  /// Behind the mark. Fills in layer, width, rows and values.
  void hand_over(tapped_step step) const;

private:
  [[nodiscard]] bool has_room(std::int32_t rows) noexcept;

  layer_tap* tap_;
  topology::shard place_;
  std::int32_t width_;
  kernels::device_queue* queue_;
  std::optional<tap_order> order_; // of the step at hand
  device_memory staging_;          // [staged_rows_, width_]; kept: watches come and go
  std::int32_t staged_rows_ = 0;
  std::int32_t rows_ = 0; // copied
  kernels::queue_mark mark_ = 0;
};

} // namespace vdist::exec
