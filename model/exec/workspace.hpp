// model/exec/workspace.hpp — the activation memory of one rank, in device memory: of the layers, for steps of up to so many
// tokens, and of the LM head. Buffers that are never alive together share memory (model/layers/context.hpp). On the CPU
// pages are touched only as far as steps reach, so a generous max_batch_tokens costs address space, not memory. On a
// device, small steps have buffers of their own (runner_limits::small_step_tokens): a standby needs no others until it
// takes over, and what is recorded stays where it is when the large ones come.
#pragma once

#include "model/exec/device_memory.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/layers/context.hpp"
#include "model/layers/decoder.hpp"
#include "model/layers/lm_head.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::exec {

class workspace {
public:
  /// For steps of `tokens`. Throws std::bad_alloc.
  workspace(const layers::decoder& decoder,
            std::int32_t tokens,
            const activation_form& form,
            kernels::device_queue& queue);

  [[nodiscard]] static std::size_t
  bytes(const layers::decoder& decoder, std::int32_t tokens, const activation_form& form);

  [[nodiscard]] const layers::buffers& activations() const { return activations_; }

  /// Of a step, at most.
  [[nodiscard]] std::int32_t tokens() const { return tokens_; }

private:
  device_memory memory_;
  layers::buffers activations_;
  std::int32_t tokens_;
};

class head_space {
public:
  /// Throws std::bad_alloc.
  head_space(const layers::decoder& decoder,
             const runner_limits& limits,
             const activation_form& form,
             kernels::device_queue& queue);

  [[nodiscard]] static std::size_t
  bytes(const layers::decoder& decoder, const runner_limits& limits, const activation_form& form);

  /// The rows that the LM head works on, logit_rows() at most.
  [[nodiscard]] const layers::head_rows& head_rows() const { return head_rows_; }

  [[nodiscard]] const layers::logit_buffers& logits() const { return logits_; }

  /// Rows of logits at once.
  [[nodiscard]] std::int32_t logit_rows() const { return logit_rows_; }

private:
  device_memory memory_;
  layers::head_rows head_rows_;
  layers::logit_buffers logits_;
  std::int32_t logit_rows_ = 0;
};

} // namespace vdist::exec
