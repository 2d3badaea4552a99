// model/layers/lm_head.hpp — rows of the residual stream to logits: final norm, a linear to the
// width of the token table where that is narrower, a linear split by vocabulary rows, and a gather
// that gives every rank of the group all parts. Only rows that are sampled come here.
#pragma once

#include "model/layers/context.hpp"
#include "model/layers/linear.hpp"
#include "model/layers/norm.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace vdist::layers {

/// Memory of one call; `part` and `parts` are the same when the rank is alone in its group.
struct logit_buffers {
  float* part = nullptr;  // [rows, lm_head::width()], this rank's
  float* parts = nullptr; // [ranks, rows, lm_head::width()]
  float* row = nullptr;   // [vocabulary], one row put together
};

struct lm_head {
  std::optional<norm> final_norm;
  std::optional<column_linear> narrow; // whole on every rank; its output lies in buffers::normed
  column_linear project;               // this rank's rows of the padded vocabulary
  std::int32_t vocabulary = 0;         // real rows over all ranks

  [[nodiscard]] std::int32_t width() const { return project.out_features; }

  /// Logits of x[rows, hidden], which is overwritten by its norm. At most as many rows as the step
  /// has tokens.
  [[nodiscard]] result<void>
  forward(const context& in, float* x, std::int32_t rows, const logit_buffers& space) const;

  /// The `vocabulary` logits of one of the `rows` of the last forward(); may be overwritten.
  [[nodiscard]] std::span<float>
  row(const context& in, const logit_buffers& space, std::int32_t rows, std::int32_t index) const;
};

} // namespace vdist::layers
