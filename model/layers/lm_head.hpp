// model/layers/lm_head.hpp — rows of the residual stream to logits: final norm, a linear to the
// width of the token table where that is narrower, a linear split by vocabulary rows, and a gather
// that gives every rank of the group whole rows. Only rows that are sampled come here.
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
/// Logits in device memory.
struct logit_buffers {
  float* part = nullptr;  // [rows, lm_head::width()], this rank's
  float* parts = nullptr; // [rows, ranks * lm_head::width()]
};

/// Rows of the residual stream on their way through the head, in device memory.
struct head_rows {
  float* stream = nullptr;    // [rows, hidden]
  kernels::elements features; // [rows, hidden], of the inner type
};

struct lm_head {
  std::optional<norm> final_norm;
  std::optional<column_linear> narrow; // whole on every rank; its output lies in buffers::normed
  column_linear project;               // this rank's rows of the padded vocabulary
  std::int32_t vocabulary = 0;         // real rows over all ranks

  [[nodiscard]] std::int32_t width() const { return project.out_features; }

  /// Where forward() wants the rows of the stream that it works on: in head_rows::stream for the norm, or, without one, in
  /// head_rows::features at once.
  [[nodiscard]] kernels::elements input(const head_rows& rows) const {
    return final_norm ? kernels::elements(rows.stream) : rows.features;
  }

  /// Logits of the `count` rows in input(). At most as many as the step has tokens.
  [[nodiscard]] result<void> forward(const context& in,
                                     const head_rows& rows,
                                     std::int32_t count,
                                     const logit_buffers& space) const;

  /// Floats of one row of the result: the width() of every rank, the first `vocabulary` of them real.
  [[nodiscard]] std::int64_t logits_stride(const context& in) const;

  /// Floats of a result of `count` rows.
  [[nodiscard]] std::size_t logit_floats(const context& in, std::int32_t count) const {
    return static_cast<std::size_t>(count * logits_stride(in));
  }

  /// Where the last forward() left them: [rows, logits_stride()] in device memory.
  [[nodiscard]] float* result_of(const context& in, const logit_buffers& space) const {
    return in.group == nullptr ? space.part : space.parts;
  }

  /// The `vocabulary` logits of one row of a result or of a copy of it; may be overwritten.
  [[nodiscard]] std::span<float> row(const context& in, float* result, std::int32_t index) const {
    return {result + index * logits_stride(in), static_cast<std::size_t>(vocabulary)};
  }
};

} // namespace vdist::layers
