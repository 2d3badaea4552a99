// How layers are split over stages and a model over tensor ranks.
#include "runtime/topology/layout.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>

namespace vdist::topology {

namespace {

result<std::vector<std::int32_t>>
checked_counts(std::int32_t layers, std::int32_t stages, std::span<const std::int32_t> counts) {
  const std::string list = fmt::format("[{}]", fmt::join(counts, ", "));
  if (counts.size() != static_cast<std::size_t>(stages)) {
    return fail(errc::bad_configuration,
                fmt::format("split layers: parallel.pipeline_layers needs one entry per stage "
                            "(pipeline_layers={}, entries={}, parallel.pipeline={})",
                            list,
                            counts.size(),
                            stages));
  }
  std::int64_t sum = 0;
  for (const std::int32_t count : counts) {
    if (count < 1) {
      return fail(errc::bad_configuration,
                  fmt::format("split layers: every stage needs at least one layer "
                              "(pipeline_layers={}, entry={})",
                              list,
                              count));
    }
    sum += count;
  }
  if (sum != layers) {
    return fail(errc::bad_configuration,
                fmt::format("split layers: parallel.pipeline_layers must add up to the layers of "
                            "the model (pipeline_layers={}, sum={}, layers={})",
                            list,
                            sum,
                            layers));
  }
  return std::vector<std::int32_t>(counts.begin(), counts.end());
}

/// The remainder goes to the stages at positions -2, -3, …: never to the last, which also computes
/// the LM head.
std::vector<std::int32_t> counts_by_rule(std::int32_t layers, std::int32_t stages) {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(stages), layers / stages);
  const std::int32_t remainder = layers % stages;
  for (std::int32_t i = 0; i < remainder; ++i) {
    ++counts[static_cast<std::size_t>(stages - 2 - i)];
  }
  return counts;
}

} // namespace

std::vector<std::int32_t> legal_tensor_sizes(const model_facts& facts) {
  std::vector<std::int32_t> sizes;
  for (std::int32_t t = 1; t <= facts.heads && t <= tensor_size_max; ++t) {
    const bool splits_kv = facts.kv_heads % t == 0 || t % facts.kv_heads == 0;
    if (facts.heads % t == 0 && facts.intermediate % t == 0 && splits_kv) {
      sizes.push_back(t);
    }
  }
  return sizes;
}

result<std::vector<layer_range>>
split_layers(std::int32_t layers, std::int32_t stages, std::span<const std::int32_t> counts) {
  if (layers < 1 || stages < 1) {
    return fail(
        errc::bad_configuration,
        fmt::format("split layers: a model has at least one layer and one stage (layers={}, "
                    "parallel.pipeline={})",
                    layers,
                    stages));
  }
  if (stages > layers) {
    return fail(errc::bad_configuration,
                fmt::format("split layers: more stages than layers (parallel.pipeline={}, "
                            "layers={}); legal: 1 to {}",
                            stages,
                            layers,
                            layers));
  }
  std::vector<std::int32_t> chosen;
  if (counts.empty()) {
    chosen = counts_by_rule(layers, stages);
  } else {
    VDIST_ASSIGN(chosen, checked_counts(layers, stages, counts));
  }
  std::vector<layer_range> ranges;
  std::int32_t first = 0;
  for (const std::int32_t count : chosen) {
    ranges.push_back({first, first + count});
    first += count;
  }
  return ranges;
}

} // namespace vdist::topology
