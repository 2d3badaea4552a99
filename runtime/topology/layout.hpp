// runtime/topology/layout.hpp — the cluster's ranks, groups, stages and places, computed once at start.
// Why a class of its own: schedulers, executors and workers must agree on every rank's part without talking, so all of
// them read one immutable value that is a pure function of (sizes, model facts, layer split, nodes).
// T-1 Every rank is in exactly one group of each kind.
// T-2 The layers of the stages are contiguous, disjoint and cover [0, layers); every stage has at least one.
// T-3 The tensor size divides heads and MLP columns, so the ranks' even slices cover them (model/weights).
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/topology/groups.hpp"
#include "runtime/topology/parallel.hpp"
#include "runtime/topology/placement.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vdist::topology {

/// What the topology must know of a model.
struct model_facts {
  std::int32_t layers = 0;
  std::int32_t heads = 0;        // query heads
  std::int32_t kv_heads = 0;     // key/value heads, divides heads
  std::int32_t intermediate = 0; // columns of the MLP
  std::int32_t vocabulary = 0;   // tokens; padded by vocabulary_of(), so any size can be split
  std::int32_t hidden = 0;
};

/// Ranks of one tensor group at most.
inline constexpr std::int32_t tensor_size_max = 64;
/// Layers, heads, columns and vocabulary of a model at most; keeps the arithmetic on them far from
/// overflow.
inline constexpr std::int32_t model_size_max = 1 << 24;
/// Workers of a cluster at most.
inline constexpr std::int32_t world_size_max = 4096;

/// Tensor sizes that the model can be split into: heads and MLP columns divide evenly, and
/// key/value heads divide evenly or are replicated evenly. Rising; always begins with 1.
[[nodiscard]] std::vector<std::int32_t> legal_tensor_sizes(const model_facts& facts);

/// Layers of each stage. `counts` empty: floor(layers / stages) each, and the remainder goes one by
/// one to the stages before the last, from the back: the last stage also computes the LM head. Else
/// the counts as given, checked.
[[nodiscard]] result<std::vector<layer_range>>
split_layers(std::int32_t layers, std::int32_t stages, std::span<const std::int32_t> counts = {});

/// What cluster_layout is made from.
struct layout_inputs {
  parallel_sizes sizes;
  model_facts model;
  std::vector<std::int32_t> pipeline_layers; // parallel.pipeline_layers
  std::vector<node_spec> nodes;              // empty: this host
};

/// The topology of one cluster. Immutable; copies are cheap enough to hand one to every actor.
class cluster_layout {
public:
  /// Errors: bad_configuration for sizes that do not fit the model or the nodes, unsupported for
  /// dimensions that this build does not run (prefill_context, decode_context and expert).
  [[nodiscard]] static result<cluster_layout> make(const layout_inputs& inputs);

  [[nodiscard]] const parallel_sizes& sizes() const { return sizes_; }

  [[nodiscard]] const model_facts& model() const { return model_; }

  [[nodiscard]] std::int32_t world() const { return sizes_.world(); }

  /// One range per stage.
  [[nodiscard]] const std::vector<layer_range>& stages() const { return stages_; }

  /// All groups of one kind, by index.
  [[nodiscard]] const std::vector<group>& groups(group_kind kind) const;
  /// The group of one kind that a rank belongs to.
  [[nodiscard]] const group& group_of(group_kind kind, rank_id rank) const;

  [[nodiscard]] coordinates at(rank_id rank) const { return coordinates_of(rank, sizes_); }

  [[nodiscard]] std::int32_t replica_of(rank_id rank) const { return at(rank).data; }

  /// What the worker of this rank holds of the model.
  [[nodiscard]] shard shard_of(rank_id rank) const;
  /// Ranks of one replica, rising.
  [[nodiscard]] std::vector<rank_id> ranks_of_replica(std::int32_t replica) const;
  /// Ranks of one stage of one replica, rising.
  [[nodiscard]] std::vector<rank_id> ranks_of_stage(std::int32_t replica, std::int32_t stage) const;
  /// The rank that samples for its replica: the first tensor rank of the last stage.
  [[nodiscard]] rank_id sampling_rank(std::int32_t replica) const;

  [[nodiscard]] const std::vector<node_spec>& nodes() const { return nodes_; }

  [[nodiscard]] const place& place_of(rank_id rank) const;

private:
  cluster_layout() = default;

  parallel_sizes sizes_;
  model_facts model_;
  std::vector<layer_range> stages_;
  std::vector<std::vector<group>> groups_; // by group_kind
  std::vector<node_spec> nodes_;           // at least one
  std::vector<place> places_;              // by rank
};

/// A small picture of the layout for the start-up log: one block per replica, one line per stage,
/// one column per tensor rank. Lines end with '\n'.
[[nodiscard]] std::string render(const cluster_layout& layout);

} // namespace vdist::topology
