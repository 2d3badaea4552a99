#include "model/exec/workspace.hpp"

#include <algorithm>
#include <new>

namespace vdist::exec {

namespace {

constexpr std::size_t floats_per_line = region_alignment / sizeof(float);

/// Hands out aligned pieces; with a null base it only counts.
class carver {
public:
  explicit carver(float* base) : base_(base) {}

  float* take(std::int64_t rows, std::int64_t width) {
    const std::size_t at = used_;
    const auto wanted = static_cast<std::size_t>(rows * width);
    used_ += (wanted + floats_per_line - 1) / floats_per_line * floats_per_line;
    return base_ == nullptr ? nullptr : base_ + at;
  }

  [[nodiscard]] std::size_t used() const { return used_; }

  /// The next pieces lie over those taken since `used() == at`.
  void rewind(std::size_t at) {
    highest_ = std::max(highest_, used_);
    used_ = at;
  }

  /// Behind everything taken so far.
  void skip_to_end() { used_ = std::max(used_, highest_); }

private:
  float* base_;
  std::size_t used_ = 0;
  std::size_t highest_ = 0;
};

layers::buffers
carve_activations(carver& memory, const layers::workspace_widths& widths, std::int64_t tokens) {
  layers::buffers made;
  made.hidden = memory.take(tokens, widths.hidden);
  made.normed = memory.take(tokens, widths.hidden);
  made.delta = made.normed;
  const auto shared = memory.used();
  made.qkv = memory.take(tokens, widths.qkv);
  made.attended = memory.take(tokens, widths.attended);
  memory.rewind(shared);
  made.up = memory.take(tokens, widths.up);
  made.mid = memory.take(tokens, widths.mid);
  memory.skip_to_end();
  return made;
}

layers::logit_buffers carve_logits(carver& memory,
                                   const layers::lm_head& head,
                                   std::int64_t rows,
                                   std::int32_t tensor_size) {
  layers::logit_buffers made;
  made.part = memory.take(rows, head.width());
  made.parts = made.part;
  if (tensor_size > 1) {
    made.parts = memory.take(rows * tensor_size, head.width());
    made.row = memory.take(1, head.vocabulary);
  }
  return made;
}

std::int32_t logit_rows_of(const runner_limits& limits) {
  return std::min(limits.max_sequences, logit_rows_max);
}

} // namespace

std::size_t workspace::floats(const layers::decoder& decoder,
                              const runner_limits& limits,
                              std::int32_t tensor_size) {
  carver memory(nullptr);
  (void)carve_activations(memory, decoder.widths(), limits.max_batch_tokens);
  (void)memory.take(limits.max_sequences, decoder.hidden);
  if (decoder.head) {
    (void)memory.take(logit_rows_of(limits), decoder.hidden);
    (void)carve_logits(memory, *decoder.head, logit_rows_of(limits), tensor_size);
  }
  return memory.used();
}

workspace::workspace(const layers::decoder& decoder,
                     const runner_limits& limits,
                     std::int32_t tensor_size)
    : logit_rows_(logit_rows_of(limits)) {
  const auto bytes = floats(decoder, limits, tensor_size) * sizeof(float);
  memory_.reset(static_cast<float*>(std::aligned_alloc(region_alignment, bytes)));
  if (memory_ == nullptr) {
    throw std::bad_alloc();
  }
  carver memory(memory_.get());
  activations_ = carve_activations(memory, decoder.widths(), limits.max_batch_tokens);
  last_rows_ = memory.take(limits.max_sequences, decoder.hidden);
  if (decoder.head) {
    head_rows_ = memory.take(logit_rows_, decoder.hidden);
    logits_ = carve_logits(memory, *decoder.head, logit_rows_, tensor_size);
  }
}

} // namespace vdist::exec
