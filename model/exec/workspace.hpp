// model/exec/workspace.hpp — the activation memory of one rank, allocated once for the largest
// step. Buffers that are never alive together share memory (model/layers/context.hpp). Pages are
// touched only as far as steps reach, so a generous max_batch_tokens costs address space, not
// memory.
#pragma once

#include "model/exec/memory_plan.hpp"
#include "model/layers/context.hpp"
#include "model/layers/decoder.hpp"
#include "model/layers/lm_head.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace vdist::exec {

class workspace {
public:
  workspace(const layers::decoder& decoder, const runner_limits& limits, std::int32_t tensor_size);

  /// Size of the whole, in floats.
  [[nodiscard]] static std::size_t
  floats(const layers::decoder& decoder, const runner_limits& limits, std::int32_t tensor_size);

  [[nodiscard]] const layers::buffers& activations() const { return activations_; }

  /// [max_sequences, hidden]: the last rows of the sequences, side by side.
  [[nodiscard]] float* last_rows() const { return last_rows_; }

  /// [logit_rows(), hidden]: the rows that the LM head works on.
  [[nodiscard]] float* head_rows() const { return head_rows_; }

  [[nodiscard]] const layers::logit_buffers& logits() const { return logits_; }

  /// Rows of logits at once.
  [[nodiscard]] std::int32_t logit_rows() const { return logit_rows_; }

private:
  struct deleter {
    void operator()(float* memory) const noexcept { std::free(memory); }
  };

  std::unique_ptr<float, deleter> memory_;
  layers::buffers activations_;
  layers::logit_buffers logits_;
  float* last_rows_ = nullptr;
  float* head_rows_ = nullptr;
  std::int32_t logit_rows_ = 0;
};

} // namespace vdist::exec
