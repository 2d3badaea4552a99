// model/layers/decoder.hpp — one rank's part of a decoder: embedding on the first stage, this
// stage's layers, LM head on the last. A layer is two blocks, attention and MLP, which add to the
// residual stream; each has a norm, on what it reads (hidden += block(norm(hidden))) or, in a
// post-norm model, on the sum (hidden = norm(hidden + block(hidden))). Why a plain struct: the
// families that we run differ in names and in which parts are present, not in the flow.
#pragma once

#include "model/layers/attention.hpp"
#include "model/layers/embedding.hpp"
#include "model/layers/lm_head.hpp"
#include "model/layers/mlp.hpp"
#include "model/layers/norm.hpp"
#include "model/layers/rope.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace vdist::layers {

struct decoder_layer {
  norm attention_norm;
  attention attend;
  norm mlp_norm;
  mlp feed;
};

struct decoder {
  std::int32_t hidden = 0;                       // width of the residual stream
  std::optional<vocabulary_embedding> embedding; // first stage
  std::optional<column_linear> widen; // first stage, where the token table is narrower than the
                                      // stream; whole on every rank
  std::optional<position_embedding> positions; // first stage, learned positions only
  weights::norm_placement norms = weights::norm_placement::before;
  std::optional<weights::rope_config> rope;
  rope_view table; // in device memory; set by whoever runs the decoder, before the first step
  std::vector<decoder_layer> layers;
  std::optional<lm_head> head; // last stage

  /// Elements per token of each buffer that forward() uses.
  [[nodiscard]] workspace_widths widths() const;

  /// First stage: fills buffers::hidden from the token ids. Other stages receive it from the stage
  /// before.
  [[nodiscard]] result<void> embed(const context& in) const;

  /// Runs this stage's layers first … last - 1, counted from its own first one, on buffers::hidden.
  [[nodiscard]] result<void>
  run_layers(const context& in, std::size_t first, std::size_t last) const;

  /// All of them.
  [[nodiscard]] result<void> run_layers(const context& in) const {
    return run_layers(in, 0, layers.size());
  }

private:
  [[nodiscard]] result<void> embed_narrow(const context& in) const;
  /// What a block reads: the stream, normed if the norms come before.
  [[nodiscard]] kernels::const_elements block_input(const context& in, const norm& by) const;
  /// Norms the stream behind a block if the norms come after.
  void end_block(const context& in, const norm& by) const;
};

} // namespace vdist::layers
