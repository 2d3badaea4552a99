// model/layers/context.hpp — everything that a layer's forward() needs beside its own shape;
// borrowed for one step. Why one struct: a layer holds numbers and weight references only, so the
// same layers serve every step, device and test.
#pragma once

#include "transport/tensor/communicator.hpp"

#include "runtime/base/result.hpp"

#include "kernels/backend.hpp"

#include <cstdint>

namespace vdist::layers {

/// Place of a tensor in the rank's weight plan and in context::weights; -1: the layer has no such
/// tensor.
using weight_ref = std::int32_t;
inline constexpr weight_ref no_weight = -1;

/// Elements per token of the buffers below.
struct workspace_widths {
  std::int64_t hidden = 0; // hidden; normed and delta, which share memory
  std::int64_t qkv = 0;
  std::int64_t attended = 0;
  std::int64_t up = 0;  // twice `mid` when the MLP is gated
  std::int64_t mid = 0; // 0 when the activation works in place
};

/// Activations of one step in device memory, [tokens, width] each, contiguous rows. The residual stream and what is added
/// to it are float32; the others are of the backend's inner type (kernels/backend.hpp). Each belongs to the layer that is
/// running; none but `hidden` survives it. What is dead when another is written shares its memory: delta lies on normed,
/// and up and mid lie on qkv and attended.
struct buffers {
  float* hidden = nullptr; // the residual stream; in and out of every block
  kernels::elements normed;
  float* delta = nullptr; // what a block adds to the residual stream
  kernels::elements qkv;
  kernels::elements attended;
  kernels::elements up;
  kernels::elements mid;
};

struct context {
  kernels::backend& ops;
  tensor::communicator* group = nullptr; // the tensor group; nullptr when this rank is alone in it
  const void* const* weights = nullptr;  // by weight_ref
  buffers space;
  const std::int32_t* token_ids = nullptr; // [tokens]
  const std::int32_t* positions = nullptr; // [tokens]
  kernels::sequence_batch batch{};
  std::int32_t max_position = 0;         // largest position of the batch + 1
  const kernels::paged_kv* kv = nullptr; // by layer, counted from the stage's first

  [[nodiscard]] std::int32_t tokens() const { return batch.tokens; }

  /// The tensor as its layer declared it; nullptr for no_weight.
  template <class T>
  [[nodiscard]] const T* weight(weight_ref ref) const {
    return ref == no_weight ? nullptr : static_cast<const T*>(weights[ref]);
  }

  /// Sums [rows, width] over the tensor group, in place. Nothing to do for a rank alone.
  [[nodiscard]] result<void>
  sum_over_group(float* data, std::int32_t rows, std::int32_t width) const;
};

} // namespace vdist::layers
