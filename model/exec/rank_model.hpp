// model/exec/rank_model.hpp — one rank's forward pass: a validated plan in, a result out. Owns the
// activations and the slot table; weights and KV memory are lent to it and outlive it
// (model_runner.hpp maps them). R-1 Its result is a function of the plans since clear(), the
// weights and the KV content (step_runner.hpp E-1). R-2 KV of a step's tokens is written before it
// is read, and always read back from the cache: chunks change no bit. R-3 All ranks of a stage make
// the same calls to their links for the same plan. Not thread-safe: one worker owns it.
#pragma once

#include "model/arch/registry.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/exec/slot_table.hpp"
#include "model/exec/token_feed.hpp"
#include "model/exec/workspace.hpp"
#include "model/layers/context.hpp"
#include "model/sampling/sampler.hpp"

#include "transport/tensor/communicator.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/topology/parallel.hpp"

#include "kernels/backend.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace vdist::exec {

/// Sees the logits of every sampled position before the sampler does: request, position of the
/// sampled token, logits. For tests and for measuring; runs on the worker's thread.
using logits_observer = std::function<void(std::uint64_t, std::int32_t, std::span<const float>)>;

/// How the rank reaches the others; each is null where there is nobody.
struct peers {
  tensor::communicator* group = nullptr; // the tensor group
  tensor::pipe* from_previous = nullptr; // the same tensor rank of the stage before
  tensor::pipe* to_next = nullptr;       // and of the stage behind
};

/// Everything that a rank_model is made of.
struct rank_model_parts {
  arch::network network;
  topology::shard place;
  runner_limits limits;
  std::unique_ptr<kernels::backend> backend;
  peers links;                  // borrowed
  std::span<std::byte> weights; // filled as network.plan says; borrowed
  std::span<std::byte> kv;      // kv_bytes(); borrowed
  logits_observer observer;     // may be empty
};

class rank_model {
public:
  explicit rank_model(rank_model_parts parts);

  /// Forgets every sequence; KV content stays.
  void clear();

  /// Runs one step; fills the columns and the digest of `out`. After an error call clear().
  [[nodiscard]] result<void> execute(const protocol::step_plan& plan, protocol::step_result& out);

private:
  [[nodiscard]] layers::context make_context() const;
  [[nodiscard]] result<void> forward(const layers::context& in);
  [[nodiscard]] std::uint64_t digest_of_last_rows();
  [[nodiscard]] result<void> sample_all(const layers::context& in,
                                        const protocol::step_plan& plan,
                                        protocol::step_result& out);
  [[nodiscard]] result<void> sample_rows(const layers::context& in,
                                         const protocol::step_plan& plan,
                                         std::int32_t first,
                                         std::int32_t rows,
                                         protocol::step_result& out);
  [[nodiscard]] result<void>
  sample_one(std::uint32_t slot, std::span<float> logits, protocol::step_result& out);

  arch::network network_;
  topology::shard place_;
  runner_limits limits_;
  std::unique_ptr<kernels::backend> backend_;
  peers links_;
  std::vector<const void*> weights_; // by weight_ref
  std::vector<kernels::paged_kv> kv_;
  workspace space_;
  slot_table slots_;
  token_feed feed_;
  std::optional<sampling::sampler> sampler_; // on the sampling rank
  logits_observer observer_;
};

} // namespace vdist::exec
