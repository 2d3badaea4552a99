#include "actors/run/topology_dump.hpp"

#include "actors/system/model_inspection.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::actors {

namespace {

using json = nlohmann::ordered_json;

json dump_range(const described_range& range) {
  return json::array({range.first, range.last});
}

json dump_weight(const weight_description& weight) {
  json slices = json::array();
  for (const auto& part : weight.parts) {
    slices.push_back({{"tensor", part.parameter},
                      {"rows", dump_range(part.rows)},
                      {"columns", dump_range(part.columns)},
                      {"at_row", part.at_row}});
  }
  return {{"name", weight.name},
          {"shape", weight.shape},
          {"dtype", weight.dtype},
          {"bytes", weight.bytes},
          {"offset", weight.offset},
          {"padding_rows", weight.padding_rows},
          {"slices", std::move(slices)}};
}

json dump_rank(const rank_description& rank, bool has_weights) {
  json dumped{{"rank", rank.rank},
              {"data", rank.replica},
              {"stage", rank.stage},
              {"tensor", rank.tensor},
              {"device", rank.device},
              {"layers", dump_range(rank.layers)},
              {"weight_bytes", rank.weight_bytes},
              {"kv_bytes_per_block", rank.kv_bytes_per_block},
              {"activation_bytes", rank.activation_bytes}};
  if (has_weights) {
    json weights = json::array();
    for (const auto& weight : rank.weights) {
      weights.push_back(dump_weight(weight));
    }
    dumped["weights"] = std::move(weights);
  }
  return dumped;
}

json dump_parameter(const parameter_description& parameter) {
  json shards = json::array();
  for (const auto& shard : parameter.shards) {
    json one{{"rank", shard.rank}, {"weight", shard.weight}, {"shape", shard.shape}};
    if (shard.axis != whole_axis) {
      one["axis"] = shard.axis;
      one["offset"] = shard.offset;
    }
    shards.push_back(std::move(one));
  }
  json dumped{{"name", parameter.name},
              {"shape", parameter.shape},
              {"dtype", parameter.dtype},
              {"bytes", parameter.bytes},
              {"shards", std::move(shards)}};
  if (parameter.layer >= 0) {
    dumped["layer"] = parameter.layer;
  }
  return dumped;
}

json dump_layers(const model_description& model) {
  json layers = json::array();
  for (const auto& one : model.layers) {
    layers.push_back({{"layer", one.layer}, {"stage", one.stage}, {"ranks", one.ranks}});
  }
  return layers;
}

json dump_groups(const topology::cluster_layout& layout) {
  json dumped = json::object();
  for (std::int32_t kind = 0; kind < topology::group_kind_count; ++kind) {
    json groups = json::array();
    for (const auto& group : layout.groups(static_cast<topology::group_kind>(kind))) {
      json ranks = json::array();
      for (const auto rank : group.ranks) {
        ranks.push_back(rank.value);
      }
      groups.push_back(std::move(ranks));
    }
    dumped[std::string(topology::to_string(static_cast<topology::group_kind>(kind)))] =
        std::move(groups);
  }
  return dumped;
}

double in_mib(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

} // namespace

result<std::string> dump_topology(const model_setup& setup) {
  VDIST_ASSIGN(const auto model, describe_model(setup));
  const auto& layout = *setup.layout;
  const auto& sizes = layout.sizes();
  json stages = json::array();
  for (const auto& range : layout.stages()) {
    stages.push_back(json::array({range.first, range.last}));
  }
  json dumped{
      {"sizes",
       {{"data", sizes.data},
        {"pipeline", sizes.pipeline},
        {"tensor", sizes.tensor},
        {"world", sizes.world()}}},
      {"model",
       {{"name", model.name},
        {"architecture", model.architecture},
        {"dtype", model.dtype},
        {"layers", model.layers.size()},
        {"hidden", model.hidden},
        {"heads", model.heads},
        {"kv_heads", model.kv_heads},
        {"head_dim", model.head_dim},
        {"intermediate", model.intermediate},
        {"vocabulary", model.vocabulary},
        {"max_model_len", model.max_model_len}}},
      {"stages", std::move(stages)},
      {"groups", dump_groups(layout)},
      {"kv_cache", {{"blocks", setup.limits.blocks}, {"block_size", setup.limits.block_size}}}};
  json parameters = json::array();
  for (const auto& parameter : model.parameters) {
    parameters.push_back(dump_parameter(parameter));
  }
  json ranks = json::array();
  for (const auto& rank : model.ranks) {
    ranks.push_back(dump_rank(rank, setup.model.has_value()));
  }
  dumped["layers"] = dump_layers(model);
  dumped["parameters"] = std::move(parameters);
  dumped["ranks"] = std::move(ranks);
  return dumped.dump(1) + "\n";
}

std::string describe_setup(const model_setup& setup) {
  worker_memory largest;
  for (const auto& worker : setup.memory) {
    largest.weights = std::max(largest.weights, worker.weights);
    largest.kv_per_block = std::max(largest.kv_per_block, worker.kv_per_block);
    largest.activations = std::max(largest.activations, worker.activations);
  }
  const auto kv = largest.kv_per_block * static_cast<std::size_t>(setup.limits.blocks);
  auto text = topology::render(*setup.layout);
  text += fmt::format("memory of the largest worker: weights {:.1f} MiB, KV cache {:.1f} MiB, "
                      "activations {:.1f} MiB, of {:.1f} MiB\n",
                      in_mib(largest.weights),
                      in_mib(kv),
                      in_mib(largest.activations),
                      in_mib(setup.memory_budget));
  text += fmt::format("KV cache: {} blocks of {} tokens per replica, {} tokens; {} sequences of {} "
                      "tokens at most\n",
                      setup.limits.blocks,
                      setup.limits.block_size,
                      setup.kv_tokens(),
                      setup.limits.max_sequences,
                      setup.max_model_len);
  return text;
}

} // namespace vdist::actors
