// model/layers/decoder.hpp — one rank's part of a decoder: embedding on the first stage, this
// stage's layers, LM head on the last. Pre-norm blocks: hidden += attention(norm(hidden)); hidden
// += mlp(norm(hidden)). Why a plain struct: the families that we run differ in names and in which
// parts are present, not in the flow.
#pragma once

#include "model/layers/attention.hpp"
#include "model/layers/embedding.hpp"
#include "model/layers/lm_head.hpp"
#include "model/layers/mlp.hpp"
#include "model/layers/norm.hpp"
#include "model/layers/rope.hpp"

#include "runtime/base/result.hpp"

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
  std::optional<position_embedding> positions;   // first stage, learned positions only
  std::optional<weights::rope_config> rope;
  rope_table table; // made by prepare()
  std::vector<decoder_layer> layers;
  std::optional<lm_head> head; // last stage

  /// Computes the rotary tables for sequences of at most `max_positions` tokens. Once, before the
  /// first step.
  void prepare(std::int32_t max_positions);

  /// Floats per token of each buffer that forward() uses.
  [[nodiscard]] workspace_widths widths() const;

  /// First stage: fills buffers::hidden from the token ids. Other stages receive it from the stage
  /// before.
  [[nodiscard]] result<void> embed(const context& in) const;

  /// Runs this stage's layers on buffers::hidden.
  [[nodiscard]] result<void> run_layers(const context& in) const;
};

} // namespace vdist::layers
