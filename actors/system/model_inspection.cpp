#include "actors/system/model_inspection.hpp"

#include <charconv>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace vdist::actors {

namespace {

std::vector<std::int64_t> dimensions_of(const weights::tensor_shape& shape) {
  return shape.is_vector() ? std::vector<std::int64_t>{shape.rows}
                           : std::vector<std::int64_t>{shape.rows, shape.columns};
}

described_range range_of(const weights::index_range& range) {
  return {range.first, range.end()};
}

/// Of a weight of ours: "layers.<n>.…", or something in front of or behind the layers.
std::int32_t layer_of(std::string_view weight) {
  constexpr std::string_view prefix = "layers.";
  std::int32_t layer = -1;
  if (weight.starts_with(prefix)) {
    const auto* const first = weight.data() + prefix.size();
    std::from_chars(first, weight.data() + weight.size(), layer);
  }
  return layer;
}

weight_description describe_weight(const weights::weight& weight) {
  weight_description described{.name = weight.name,
                               .shape = dimensions_of(weight.shape),
                               .dtype = std::string(kernels::to_string(weight.type)),
                               .bytes = weight.bytes(),
                               .offset = weight.offset,
                               .padding_rows = weight.padding_rows,
                               .parts = {}};
  for (const auto& slice : weight.slices) {
    described.parts.push_back({.parameter = slice.tensor.names.front(),
                               .rows = range_of(slice.rows),
                               .columns = range_of(slice.columns),
                               .at_row = slice.destination_row});
  }
  return described;
}

/// M-2.
parameter_shard
describe_shard(std::int32_t rank, const std::string& weight, const weights::weight_slice& slice) {
  const auto& whole = slice.tensor.shape;
  parameter_shard shard{.rank = rank, .weight = weight, .shape = {slice.rows.count}};
  if (!whole.is_vector()) {
    shard.shape.push_back(slice.columns.count);
  }
  if (slice.rows.count != whole.rows) {
    shard.axis = 0;
    shard.offset = slice.rows.first;
  } else if (slice.columns.count != whole.width()) {
    shard.axis = 1;
    shard.offset = slice.columns.first;
  }
  return shard;
}

/// Gathers the ranks' weights into the parameters that they are made of.
class parameter_book {
public:
  void add(std::int32_t rank, const weights::weight& weight) {
    for (const auto& slice : weight.slices) {
      entry_of(weight, slice.tensor).shards.push_back(describe_shard(rank, weight.name, slice));
    }
  }

  std::vector<parameter_description> take() && { return std::move(parameters_); }

private:
  parameter_description& entry_of(const weights::weight& weight,
                                  const weights::tensor_ref& tensor) {
    const auto& name = tensor.names.front();
    const auto [found, is_new] = index_by_name_.try_emplace(name, parameters_.size());
    if (is_new) {
      parameters_.push_back({.name = name,
                             .layer = layer_of(weight.name),
                             .shape = dimensions_of(tensor.shape),
                             .dtype = std::string(kernels::to_string(weight.type)),
                             .bytes = static_cast<std::size_t>(tensor.shape.elements())
                                      * kernels::size_of(weight.type),
                             .shards = {}});
    }
    return parameters_[found->second];
  }

  std::vector<parameter_description> parameters_;
  std::unordered_map<std::string, std::size_t> index_by_name_;
};

result<rank_description>
describe_rank(const model_setup& setup, rank_id rank, parameter_book& parameters) {
  const auto& layout = *setup.layout;
  const auto at = layout.at(rank);
  const auto place = layout.shard_of(rank);
  const auto& memory = setup.memory[static_cast<std::size_t>(rank.value)];
  rank_description described{.rank = rank.value,
                             .replica = at.data,
                             .stage = at.pipeline,
                             .tensor = at.tensor,
                             .device = layout.place_of(rank).device,
                             .layers = {place.layers.first, place.layers.last},
                             .weight_bytes = memory.weights,
                             .kv_bytes_per_block = memory.kv_per_block,
                             .activation_bytes = memory.activations,
                             .weights = {}};
  if (!setup.model) {
    return described;
  }
  VDIST_ASSIGN(const auto network, network_of(setup, rank));
  for (const auto& weight : network.plan.weights) {
    described.weights.push_back(describe_weight(weight));
    parameters.add(rank.value, weight);
  }
  return described;
}

std::vector<layer_description> describe_layers(const topology::cluster_layout& layout) {
  std::vector<layer_description> layers;
  for (std::size_t stage = 0; stage < layout.stages().size(); ++stage) {
    std::vector<std::int32_t> ranks;
    for (std::int32_t replica = 0; replica < layout.sizes().data; ++replica) {
      for (const auto rank : layout.ranks_of_stage(replica, static_cast<std::int32_t>(stage))) {
        ranks.push_back(rank.value);
      }
    }
    for (auto layer = layout.stages()[stage].first; layer < layout.stages()[stage].last; ++layer) {
      layers.push_back({.layer = layer, .stage = static_cast<std::int32_t>(stage), .ranks = ranks});
    }
  }
  return layers;
}

} // namespace

result<model_description> describe_model(const model_setup& setup) {
  const auto& facts = setup.layout->model();
  model_description described{.name = setup.folder.name,
                              .architecture = setup.model ? setup.model->architecture : "sim",
                              .dtype = std::string(kernels::to_string(setup.type)),
                              .hidden = facts.hidden,
                              .heads = facts.heads,
                              .kv_heads = facts.kv_heads,
                              .head_dim = setup.model ? setup.model->head_dim : 0,
                              .intermediate = facts.intermediate,
                              .vocabulary = setup.vocabulary,
                              .max_model_len = setup.max_model_len,
                              .layers = describe_layers(*setup.layout),
                              .parameters = {},
                              .ranks = {}};
  parameter_book parameters;
  for (std::int32_t rank = 0; rank < setup.layout->world(); ++rank) {
    VDIST_ASSIGN(auto one, describe_rank(setup, rank_id(rank), parameters));
    described.ranks.push_back(std::move(one));
  }
  described.parameters = std::move(parameters).take();
  return described;
}

} // namespace vdist::actors
