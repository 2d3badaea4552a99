// model/layers/attention.hpp — self-attention of one layer: fused qkv, optional q/k norms, rotary
// positions, paged KV, output projection into the residual stream. Heads are split over the tensor
// group; key/value heads too, or replicated when there are fewer of them than ranks. One linear
// reads q, k and v: the rows of buffers::qkv are [q heads | k heads | v heads], and the kernels
// read the parts in place by stride, so nothing is copied.
#pragma once

#include "model/layers/context.hpp"
#include "model/layers/linear.hpp"
#include "model/layers/norm.hpp"
#include "model/layers/rope.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>

namespace vdist::layers {

struct attention {
  column_linear qkv;
  std::optional<norm> q_norm; // over head_dim, every head alike (Qwen 3)
  std::optional<norm> k_norm;
  row_linear out;
  std::int32_t heads = 0;    // of this rank
  std::int32_t kv_heads = 0; // of this rank
  std::int32_t head_dim = 0;
  float scale = 1;
  std::int32_t window = 0; // tokens; 0: full attention

  /// Adds attention(x[tokens, hidden]) to the residual stream. `rope` is borrowed; empty tables
  /// rotate nothing.
  [[nodiscard]] result<void> add_to_residual(const context& in,
                                             kernels::const_elements x,
                                             const rope_view& rope,
                                             const kernels::paged_kv& kv) const;

private:
  [[nodiscard]] std::int64_t qkv_width() const { return qkv.out_features; }
};

} // namespace vdist::layers
