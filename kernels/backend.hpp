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
// N-4 The same call on the same bits gives the same bits. This is all that the CUDA backend promises: its sums have an
//     order of their own for every size of a batch. N-1 to N-3 hold on the CPU.
// Operations return at once where a device works behind the caller's back (kernels/device_queue.hpp); what went wrong is
// in queue().failure(). They never allocate after construction, never log and never read the environment. Not
// thread-safe: one worker owns one.
#pragma once

#include "kernels/activation/activation.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/checksum/checksum.hpp"
#include "kernels/collective/collective.hpp"
#include "kernels/device_fault.hpp"
#include "kernels/device_queue.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/linear/linear.hpp"
#include "kernels/norm/norm.hpp"
#include "kernels/position/rope.hpp"
#include "kernels/random/random_fill.hpp"
#include "kernels/sampling/sampling.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace vdist::kernels {

/// Element types of activations. Sums, the residual stream and logits are float32 everywhere.
struct activation_types {
  dtype inner =
      dtype::float32; // what linears read, and what lies between the operations of a block
};

class backend {
public:
  virtual ~backend() = default;

  /// "cpu-avx512", "cpu-avx2", "cpu-portable", "cuda" …
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// Types that this backend wants for a model whose matrices are of type `weights`.
  [[nodiscard]] virtual activation_types types(dtype weights) const noexcept = 0;

  [[nodiscard]] virtual device_queue& queue() noexcept = 0;

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
  virtual void digest(const digest_args& args) noexcept = 0;

  // Fused operations: defined by the ones above (backend.cpp); a backend that can do better overrides them.
  virtual void linear_residual(const linear_residual_args& args) noexcept;
  virtual void gated_linear(const gated_linear_args& args) noexcept;
  virtual void prepare_qkv(const qkv_args& args) noexcept;

  /// Generated weights. Defined for memory that the host can write (backend.cpp), one element after the other; a backend
  /// whose memory is elsewhere overrides it. The bits are the same everywhere (F-1).
  virtual void fill_random(const random_fill_args& args) noexcept;

  /// What memory holds, as one number (H-1). Defined as fill_random() is.
  virtual void checksum(const checksum_args& args) noexcept;

  /// Whether sample(), take_fed_tokens() and update_blocks() are there: steps then follow each other on the device
  /// without the host in between.
  [[nodiscard]] virtual bool has_device_sampling() const noexcept { return false; }

  virtual void sample(const sample_args& args) noexcept;
  virtual void take_fed_tokens(const fed_tokens_args& args) noexcept;
  virtual void update_blocks(const block_updates_args& args) noexcept;

  /// Faults on purpose. Defined as nothing (backend.cpp): false, this backend has no such fault.
  [[nodiscard]] virtual bool inject(injected_fault what) noexcept;
  /// One bit of `word`, of device memory, becomes another one, in the order of queue(). Defined for memory that the host can
  /// write.
  virtual void flip_bit(float* word) noexcept;

  /// This rank's member of a group of devices; what it does comes in the order of queue(). The backend outlives it. Null,
  /// and `why`, when the devices cannot reach each other or this backend has no collectives.
  [[nodiscard]] virtual std::unique_ptr<device_group> join_group(const device_group_config& config,
                                                                 std::string& why);
};

} // namespace vdist::kernels
