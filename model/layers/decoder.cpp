#include "model/layers/decoder.hpp"

#include <algorithm>
#include <cstddef>

namespace vdist::layers {

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
  if (widen) {
    VDIST_TRY(embed_narrow(in));
    widen->forward(in, in.space.normed, in.tokens(), in.space.hidden, hidden);
  } else {
    VDIST_TRY(embedding->forward(in, in.space.hidden));
  }
  if (positions) {
    positions->add_to_residual(in);
  }
  return {};
}

/// The rows of a table that is narrower than the stream, in buffers::normed. What ranks add up is float32, so it passes
/// through the stream, which is empty yet, where the linear behind wants another type.
result<void> decoder::embed_narrow(const context& in) const {
  if (in.group == nullptr || in.space.normed.type == kernels::dtype::float32) {
    return embedding->forward(in, in.space.normed);
  }
  VDIST_TRY(embedding->forward(in, in.space.hidden));
  in.ops.gather_rows({.x = in.space.hidden,
                      .indices = nullptr,
                      .y = in.space.normed,
                      .rows = in.tokens(),
                      .width = embedding->width,
                      .x_stride = embedding->width});
  return {};
}

kernels::const_elements decoder::block_input(const context& in, const norm& by) const {
  if (norms == weights::norm_placement::after) {
    if (in.space.normed.type == kernels::dtype::float32) {
      return in.space.hidden; // a block has read its input before it adds to the stream
    }
    in.ops.gather_rows({.x = in.space.hidden,
                        .indices = nullptr,
                        .y = in.space.normed,
                        .rows = in.tokens(),
                        .width = hidden,
                        .x_stride = hidden});
    return in.space.normed;
  }
  by.forward(in, in.space.hidden, in.space.normed, in.tokens(), hidden);
  return in.space.normed;
}

void decoder::end_block(const context& in, const norm& by) const {
  if (norms == weights::norm_placement::after) {
    by.forward(in, in.space.hidden, in.space.hidden, in.tokens(), hidden);
  }
}

result<void> decoder::run_layers(const context& in, std::size_t first, std::size_t last) const {
  for (auto i = first; i < last; ++i) {
    const auto& layer = layers[i];
    VDIST_TRY(
        layer.attend.add_to_residual(in, block_input(in, layer.attention_norm), table, in.kv[i]));
    end_block(in, layer.attention_norm);
    VDIST_TRY(layer.feed.add_to_residual(in, block_input(in, layer.mlp_norm)));
    end_block(in, layer.mlp_norm);
  }
  return {};
}

} // namespace vdist::layers
