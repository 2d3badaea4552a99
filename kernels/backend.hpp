// kernels/backend.hpp — every operation of the forward pass on one page; model/ is written against this interface and
// never asks which device it runs on. Pointers are device memory of the backend; on the CPU that is plain memory.
// Why virtual: one call per operation per layer is nothing beside the operation, and CPU, CUDA and tests share one model.
//
// N-1 Batch invariance: an output row is a function of its own input row (and of its own sequence's KV) only. Its bits
//     do not change with the number of rows, their order, the chunking of a prompt, the block size, the threads or the
//     instruction set.
// N-2 Every sum has a fixed order. A dot product over K uses 16 lanes: lane i accumulates elements i, i+16, i+32, … in
//     rising order with fused multiply-add from zero; a tail is padded with zeros; the lanes are then summed by a fixed
//     binary tree: s[i] += s[i+8], then +4, +2, +1.
// N-3 Sums that tensor parallelism splits (row-parallel linear) are cut into `reduction_leaves` equal leaves, each a
//     dot product of N-2, added by a binary tree over neighbours. A rank that holds a power-of-two share of the leaves
//     computes a subtree; the all-reduce (transport/tensor) continues the same tree over ranks. Hence the same bits for
//     every tensor size that divides the leaves.
// Calls never allocate after construction, never log and never read the environment. Not thread-safe: one worker owns one.
#pragma once

#include "kernels/activation/activation.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/linear/linear.hpp"
#include "kernels/norm/norm.hpp"
#include "kernels/position/rope.hpp"

#include <string_view>

namespace vdist::kernels {

class backend {
public:
  virtual ~backend() = default;

  /// "cpu-avx512", "cpu-avx2", "cpu-portable", "cuda" …
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  virtual void linear(const linear_args& args) noexcept = 0;
  virtual void rms_norm(const rms_norm_args& args) noexcept = 0;
  virtual void layer_norm(const layer_norm_args& args) noexcept = 0;
  virtual void rope(const rope_args& args) noexcept = 0;
  virtual void kv_append(const kv_append_args& args) noexcept = 0;
  virtual void attention(const attention_args& args) noexcept = 0;
  virtual void gated_activation(const gated_activation_args& args) noexcept = 0;
  virtual void activation(const activation_args& args) noexcept = 0;
  virtual void add_residual(const add_residual_args& args) noexcept = 0;
  virtual void embedding(const embedding_args& args) noexcept = 0;
  virtual void position_embedding(const position_embedding_args& args) noexcept = 0;
  virtual void gather_rows(const gather_rows_args& args) noexcept = 0;
};

} // namespace vdist::kernels
