#include "actors/system/topology_dump.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::actors {

namespace {

using json = nlohmann::ordered_json;

json range_of(const weights::index_range& range) {
  return json::array({range.first, range.end()});
}

json dump_weight(const weights::weight& weight) {
  json slices = json::array();
  for (const auto& slice : weight.slices) {
    slices.push_back({{"tensor", slice.tensor.names.front()},
                      {"rows", range_of(slice.rows)},
                      {"columns", range_of(slice.columns)},
                      {"at_row", slice.destination_row}});
  }
  json shape = weight.shape.is_vector() ? json::array({weight.shape.rows})
                                        : json::array({weight.shape.rows, weight.shape.columns});
  return {{"name", weight.name},
          {"shape", std::move(shape)},
          {"dtype", kernels::to_string(weight.type)},
          {"bytes", weight.bytes()},
          {"offset", weight.offset},
          {"padding_rows", weight.padding_rows},
          {"slices", std::move(slices)}};
}

result<json> dump_rank(const model_setup& setup, rank_id rank) {
  const auto& layout = *setup.layout;
  const auto at = layout.at(rank);
  const auto place = layout.shard_of(rank);
  const auto& memory = setup.memory[static_cast<std::size_t>(rank.value)];
  json dumped{{"rank", rank.value},
              {"data", at.data},
              {"stage", at.pipeline},
              {"tensor", at.tensor},
              {"device", layout.place_of(rank).device},
              {"layers", json::array({place.layers.first, place.layers.last})},
              {"weight_bytes", memory.weights},
              {"kv_bytes_per_block", memory.kv_per_block},
              {"activation_bytes", memory.activations}};
  if (setup.model) {
    VDIST_ASSIGN(const auto network, network_of(setup, rank));
    json weights = json::array();
    for (const auto& weight : network.plan.weights) {
      weights.push_back(dump_weight(weight));
    }
    dumped["weights"] = std::move(weights);
  }
  return dumped;
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
       {{"name", setup.folder.name},
        {"architecture", setup.model ? setup.model->architecture : "sim"},
        {"dtype", kernels::to_string(setup.type)},
        {"layers", layout.model().layers},
        {"heads", layout.model().heads},
        {"kv_heads", layout.model().kv_heads},
        {"vocabulary", setup.vocabulary},
        {"max_model_len", setup.max_model_len}}},
      {"stages", std::move(stages)},
      {"groups", dump_groups(layout)},
      {"kv_cache", {{"blocks", setup.limits.blocks}, {"block_size", setup.limits.block_size}}}};
  json ranks = json::array();
  for (std::int32_t rank = 0; rank < layout.world(); ++rank) {
    VDIST_ASSIGN(auto dumped_rank, dump_rank(setup, rank_id(rank)));
    ranks.push_back(std::move(dumped_rank));
  }
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
