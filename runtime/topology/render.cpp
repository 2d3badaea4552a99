#include "runtime/topology/layout.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace vdist::topology {

namespace {

using sink = std::back_insert_iterator<std::string>;

int digits(std::int32_t value) {
  return static_cast<int>(fmt::formatted_size("{}", value));
}

/// Parts beside the layers that a stage computes.
const char* extras(std::int32_t stage, std::int32_t stages) {
  if (stages == 1) {
    return "  embedding, lm head";
  }
  if (stage == 0) {
    return "  embedding";
  }
  return stage + 1 == stages ? "  lm head" : "";
}

void render_stage(sink out,
                  const cluster_layout& layout,
                  std::int32_t replica,
                  std::int32_t stage) {
  const layer_range layers = layout.stages()[static_cast<std::size_t>(stage)];
  const std::string range = fmt::format("{}-{}", layers.first, layers.last - 1);
  const int range_width = 2 * digits(layout.model().layers) + 1;
  fmt::format_to(out,
                 "  stage {:>{}}  layers {:<{}} |",
                 stage,
                 digits(layout.sizes().pipeline),
                 range,
                 range_width);
  for (const rank_id rank : layout.ranks_of_stage(replica, stage)) {
    fmt::format_to(out, " {:>{}}", rank.value, digits(layout.world() - 1));
  }
  fmt::format_to(out, " |{}\n", extras(stage, layout.sizes().pipeline));
}

/// "n0[0,1] n1[0]": the devices that a replica's workers use, by node.
std::string places_of_replica(const cluster_layout& layout, std::int32_t replica) {
  std::string text;
  std::int32_t node = -1;
  for (const rank_id rank : layout.ranks_of_replica(replica)) {
    const place& p = layout.place_of(rank);
    if (p.node != node) {
      text += node < 0 ? "" : "] ";
      text += layout.nodes()[static_cast<std::size_t>(p.node)].name + "[";
      node = p.node;
    } else {
      text += ",";
    }
    text += std::to_string(p.device);
  }
  return text + "]";
}

} // namespace

std::string render(const cluster_layout& layout) {
  const parallel_sizes& s = layout.sizes();
  std::string text;
  const sink out(text);
  fmt::format_to(out,
                 "{} worker{}: data {} x pipeline {} x tensor {}\n",
                 layout.world(),
                 layout.world() == 1 ? "" : "s",
                 s.data,
                 s.pipeline,
                 s.tensor);
  for (std::int32_t replica = 0; replica < s.data; ++replica) {
    fmt::format_to(out, "replica {} on {}\n", replica, places_of_replica(layout, replica));
    for (std::int32_t stage = 0; stage < s.pipeline; ++stage) {
      render_stage(out, layout, replica, stage);
    }
  }
  return text;
}

} // namespace vdist::topology
