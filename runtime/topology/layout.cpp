#include "runtime/topology/layout.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vdist::topology {

namespace {

result<void> check_sizes(const parallel_sizes& sizes) {
  struct dimension {
    const char* name;
    std::int32_t size;
  };

  std::int64_t world = 1;
  for (const dimension& d : {dimension{"data", sizes.data},
                             dimension{"pipeline", sizes.pipeline},
                             dimension{"prefill_context", sizes.prefill_context},
                             dimension{"tensor", sizes.tensor}}) {
    if (d.size < 1 || d.size > world_size_max) {
      return fail(errc::bad_configuration,
                  fmt::format("layout: parallel.{} is out of range ({}={}); legal: 1 to {}",
                              d.name,
                              d.name,
                              d.size,
                              world_size_max));
    }
    world *=
        d.size; // at most world_size_max per factor and checked below each time: cannot overflow
    if (world > world_size_max) {
      return fail(errc::bad_configuration,
                  fmt::format("layout: too many workers (data={}, pipeline={}, prefill_context={}, "
                              "tensor={}); legal: a product of at most {}",
                              sizes.data,
                              sizes.pipeline,
                              sizes.prefill_context,
                              sizes.tensor,
                              world_size_max));
    }
  }
  return {};
}

result<void> check_supported(const parallel_sizes& sizes) {
  if (sizes.prefill_context != 1) {
    return fail(errc::unsupported,
                fmt::format("layout: prefill context parallelism is not supported yet "
                            "(parallel.prefill_context={}); legal: 1",
                            sizes.prefill_context));
  }
  if (sizes.decode_context != 1) {
    return fail(errc::unsupported,
                fmt::format("layout: decode context parallelism is not supported yet "
                            "(parallel.decode_context={}); legal: 1",
                            sizes.decode_context));
  }
  if (sizes.expert) {
    return fail(
        errc::unsupported,
        "layout: expert parallelism is not supported yet (parallel.expert=true); legal: false");
  }
  return {};
}

result<void> check_model(const model_facts& facts) {
  const auto sizes = {facts.layers,
                      facts.heads,
                      facts.kv_heads,
                      facts.intermediate,
                      facts.vocabulary,
                      facts.hidden};
  const bool in_range = std::all_of(sizes.begin(), sizes.end(), [](std::int32_t size) {
    return size >= 1 && size <= model_size_max;
  });
  if (!in_range || facts.heads % facts.kv_heads != 0) {
    return fail(errc::bad_configuration,
                fmt::format("layout: the model's sizes make no sense (layers={}, heads={}, "
                            "kv_heads={}, intermediate={}, vocabulary={}, hidden={}); legal: 1 to "
                            "{}, heads a multiple of kv_heads",
                            facts.layers,
                            facts.heads,
                            facts.kv_heads,
                            facts.intermediate,
                            facts.vocabulary,
                            facts.hidden,
                            model_size_max));
  }
  return {};
}

result<void> check_tensor(std::int32_t tensor, const model_facts& facts) {
  const std::vector<std::int32_t> legal = legal_tensor_sizes(facts);
  if (!std::binary_search(legal.begin(), legal.end(), tensor)) {
    return fail(errc::bad_configuration,
                fmt::format("layout: the model cannot be split into this many tensor ranks "
                            "(parallel.tensor={}, heads={}, kv_heads={}, intermediate={}); legal "
                            "for this model: {}",
                            tensor,
                            facts.heads,
                            facts.kv_heads,
                            facts.intermediate,
                            fmt::join(legal, ", ")));
  }
  return {};
}

} // namespace

result<cluster_layout> cluster_layout::make(const layout_inputs& inputs) {
  VDIST_TRY(check_sizes(inputs.sizes));
  VDIST_TRY(check_supported(inputs.sizes));
  VDIST_TRY(check_model(inputs.model));
  VDIST_TRY(check_tensor(inputs.sizes.tensor, inputs.model));
  cluster_layout layout;
  layout.sizes_ = inputs.sizes;
  layout.model_ = inputs.model;
  VDIST_ASSIGN(layout.stages_,
               split_layers(inputs.model.layers, inputs.sizes.pipeline, inputs.pipeline_layers));
  layout.nodes_ = inputs.nodes.empty() ? std::vector<node_spec>(1) : inputs.nodes;
  VDIST_ASSIGN(layout.places_, place_ranks(layout.world(), layout.nodes_));
  for (std::int32_t kind = 0; kind < group_kind_count; ++kind) {
    layout.groups_.push_back(make_groups(static_cast<group_kind>(kind), inputs.sizes));
  }
  return layout;
}

const std::vector<group>& cluster_layout::groups(group_kind kind) const {
  return groups_.at(static_cast<std::size_t>(kind));
}

const group& cluster_layout::group_of(group_kind kind, rank_id rank) const {
  for (const group& g : groups(kind)) {
    if (std::find(g.ranks.begin(), g.ranks.end(), rank) != g.ranks.end()) {
      return g;
    }
  }
  VDIST_CHECK(false, "T-1: every rank is in one group of each kind");
  return groups(kind).front();
}

shard cluster_layout::shard_of(rank_id rank) const {
  const coordinates c = at(rank);
  return {.tensor_rank = c.tensor,
          .tensor_size = sizes_.tensor,
          .stage = c.pipeline,
          .stages = sizes_.pipeline,
          .layers = stages_[static_cast<std::size_t>(c.pipeline)]};
}

std::vector<rank_id> cluster_layout::ranks_of_replica(std::int32_t replica) const {
  return group_of(group_kind::replica, rank_of({.data = replica}, sizes_)).ranks;
}

std::vector<rank_id> cluster_layout::ranks_of_stage(std::int32_t replica,
                                                    std::int32_t stage) const {
  const std::int32_t first = rank_of({.data = replica, .pipeline = stage}, sizes_).value;
  std::vector<rank_id> ranks;
  for (std::int32_t i = 0; i < sizes_.prefill_context * sizes_.tensor; ++i) {
    ranks.emplace_back(first + i);
  }
  return ranks;
}

rank_id cluster_layout::sampling_rank(std::int32_t replica) const {
  return rank_of({.data = replica, .pipeline = sizes_.pipeline - 1}, sizes_);
}

const place& cluster_layout::place_of(rank_id rank) const {
  VDIST_CHECK(rank.value >= 0 && rank.value < world(), "topology: rank outside the world");
  return places_[static_cast<std::size_t>(rank.value)];
}

} // namespace vdist::topology
