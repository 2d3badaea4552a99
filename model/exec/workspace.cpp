#include "model/exec/workspace.hpp"

#include <algorithm>

namespace vdist::exec {

namespace {

/// Hands out aligned pieces; with a null base it only counts.
class carver {
public:
  explicit carver(std::byte* base) : base_(base) {}

  kernels::elements take(std::int64_t rows, std::int64_t width, kernels::dtype type) {
    const std::size_t at = used_;
    const auto wanted = static_cast<std::size_t>(rows * width) * kernels::size_of(type);
    used_ += (wanted + alignment - 1) / alignment * alignment;
    return {base_ == nullptr ? nullptr : base_ + at, type};
  }

  float* take_floats(std::int64_t rows, std::int64_t width) {
    return take(rows, width, kernels::dtype::float32).as<float>();
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
  static constexpr std::size_t alignment = 256; // of what a device copies fastest

  std::byte* base_;
  std::size_t used_ = 0;
  std::size_t highest_ = 0;
};

layers::buffers carve_activations(carver& memory,
                                  const layers::workspace_widths& widths,
                                  std::int64_t tokens,
                                  kernels::dtype inner) {
  layers::buffers made;
  made.hidden = memory.take_floats(tokens, widths.hidden);
  const auto behind_hidden = memory.used();
  made.normed = memory.take(tokens, widths.hidden, inner);
  memory.rewind(behind_hidden);
  made.delta = memory.take_floats(tokens, widths.hidden);
  memory.skip_to_end();
  const auto shared = memory.used();
  made.qkv = memory.take(tokens, widths.qkv, inner);
  made.attended = memory.take(tokens, widths.attended, inner);
  memory.rewind(shared);
  made.up = memory.take(tokens, widths.up, inner);
  made.mid = memory.take(tokens, widths.mid, inner);
  memory.skip_to_end();
  return made;
}

layers::head_rows
carve_head_rows(carver& memory, std::int64_t rows, std::int64_t hidden, kernels::dtype inner) {
  layers::head_rows made;
  made.stream = memory.take_floats(rows, hidden);
  made.features = memory.take(rows, hidden, inner);
  return made;
}

layers::logit_buffers carve_logits(carver& memory,
                                   const layers::lm_head& head,
                                   std::int64_t rows,
                                   std::int32_t tensor_size) {
  layers::logit_buffers made;
  made.part = memory.take_floats(rows, head.width());
  made.parts = tensor_size > 1 ? memory.take_floats(rows * tensor_size, head.width()) : made.part;
  return made;
}

std::int32_t logit_rows_of(const runner_limits& limits) {
  return std::min(limits.max_sequences, limits.logit_rows);
}

} // namespace

std::size_t
workspace::bytes(const layers::decoder& decoder, std::int32_t tokens, const activation_form& form) {
  carver memory(nullptr);
  (void)carve_activations(memory, decoder.widths(), tokens, form.types.inner);
  return memory.used();
}

workspace::workspace(const layers::decoder& decoder,
                     std::int32_t tokens,
                     const activation_form& form,
                     kernels::device_queue& queue)
    : memory_(queue, bytes(decoder, tokens, form)), tokens_(tokens) {
  carver memory(memory_.data());
  activations_ = carve_activations(memory, decoder.widths(), tokens, form.types.inner);
}

std::size_t head_space::bytes(const layers::decoder& decoder,
                              const runner_limits& limits,
                              const activation_form& form) {
  carver memory(nullptr);
  if (decoder.head) {
    (void)carve_head_rows(memory, logit_rows_of(limits), decoder.hidden, form.types.inner);
    (void)carve_logits(memory, *decoder.head, logit_rows_of(limits), form.tensor_size);
  }
  return memory.used();
}

head_space::head_space(const layers::decoder& decoder,
                       const runner_limits& limits,
                       const activation_form& form,
                       kernels::device_queue& queue)
    : memory_(queue, bytes(decoder, limits, form)), logit_rows_(logit_rows_of(limits)) {
  carver memory(memory_.data());
  if (decoder.head) {
    head_rows_ = carve_head_rows(memory, logit_rows_, decoder.hidden, form.types.inner);
    logits_ = carve_logits(memory, *decoder.head, logit_rows_, form.tensor_size);
  }
}

} // namespace vdist::exec
