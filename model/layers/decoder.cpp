#include "model/layers/decoder.hpp"

#include <algorithm>
#include <cstddef>

namespace vdist::layers {

void decoder::prepare(std::int32_t max_positions) {
  if (rope) {
    table = make_rope_table(*rope, max_positions);
  }
}

workspace_widths decoder::widths() const {
  workspace_widths widths{.hidden = hidden};
  for (const auto& layer : layers) {
    widths.qkv = std::max<std::int64_t>(widths.qkv, layer.attend.qkv.out_features);
    widths.attended = std::max<std::int64_t>(widths.attended, layer.attend.out.in_features);
    widths.up = std::max<std::int64_t>(widths.up, layer.feed.up.out_features);
    const bool is_gated = layer.feed.kind == mlp_kind::gated;
    widths.mid = std::max<std::int64_t>(widths.mid, is_gated ? layer.feed.width : 0);
  }
  return widths;
}

result<void> decoder::embed(const context& in) const {
  VDIST_TRY(embedding->forward(in));
  if (positions) {
    positions->add_to_residual(in);
  }
  return {};
}

result<void> decoder::run_layers(const context& in) const {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& layer = layers[i];
    layer.attention_norm.forward(in, in.space.hidden, in.space.normed, in.tokens(), hidden);
    VDIST_TRY(layer.attend.add_to_residual(in, in.space.normed, table, in.kv[i]));
    layer.mlp_norm.forward(in, in.space.hidden, in.space.normed, in.tokens(), hidden);
    VDIST_TRY(layer.feed.add_to_residual(in, in.space.normed));
  }
  return {};
}

} // namespace vdist::layers
