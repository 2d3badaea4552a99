#include "model/arch/rotary_decoder.hpp"

#include <fmt/format.h>
#include <string>

namespace vdist::arch {

namespace {

/// One layer's attention as the checkpoint stores it; `theirs` is "model.layers.3.self_attn".
layers::attention_source attention_of(const weights::model_config& model,
                                      const std::string& theirs,
                                      const rotary_parts& parts) {
  const std::int64_t q_width = model.heads * model.head_dim;
  const std::int64_t kv_width = model.kv_heads * model.head_dim;
  // A part of the output: its own tensor, or its rows of the fused one.
  const auto part = [&](const char* name, std::int64_t width, std::int64_t first_row) {
    const bool is_fused = parts.stored == projections::fused;
    return layers::linear_source{.names = {theirs + (is_fused ? ".qkv_proj" : name)},
                                 .out_features = is_fused ? q_width + 2 * kv_width : width,
                                 .in_features = model.hidden,
                                 .has_bias = parts.qkv_bias,
                                 .first_row = is_fused ? first_row : 0};
  };
  layers::attention_source source{.q = part(".q_proj", q_width, 0),
                                  .k = part(".k_proj", kv_width, q_width),
                                  .v = part(".v_proj", kv_width, q_width + kv_width),
                                  .out = {.names = {theirs + ".o_proj"},
                                          .out_features = model.hidden,
                                          .in_features = q_width,
                                          .has_bias = parts.output_bias}};
  if (parts.has_head_norms) {
    source.q_norm = {theirs + ".q_norm"};
    source.k_norm = {theirs + ".k_norm"};
  }
  return source;
}

/// `theirs` is "model.layers.3.mlp".
layers::mlp_source
mlp_of(const weights::model_config& model, const std::string& theirs, const rotary_parts& parts) {
  const auto part = [&](const char* name, std::int64_t first_row) {
    const bool is_fused = parts.stored == projections::fused;
    return layers::linear_source{.names = {theirs + (is_fused ? ".gate_up_proj" : name)},
                                 .out_features = (is_fused ? 2 : 1) * model.intermediate,
                                 .in_features = model.hidden,
                                 .has_bias = parts.mlp_bias,
                                 .first_row = is_fused ? first_row : 0};
  };
  return {.kind = layers::mlp_kind::gated,
          .gate = part(".gate_proj", 0),
          .up = part(".up_proj", model.intermediate),
          .down = {.names = {theirs + ".down_proj"},
                   .out_features = model.hidden,
                   .in_features = model.intermediate,
                   .has_bias = parts.mlp_bias}};
}

layers::decoder_layer build_layer(const weights::model_config& model,
                                  layers::declaration& to,
                                  std::int32_t index,
                                  const rotary_parts& parts) {
  const auto ours = fmt::format("layers.{}", index);
  const auto theirs = fmt::format("model.layers.{}", index);
  const auto hidden = model.hidden;
  auto attention = attention_of(model, theirs + ".self_attn", parts);
  attention.window = model.window_of(index);

  layers::decoder_layer layer;
  layer.attention_norm =
      declare_norm(to, ours + ".attention_norm", {theirs + ".input_layernorm"}, model, hidden);
  layer.attend = declare_attention(to, ours + ".attention", attention, model);
  layer.mlp_norm =
      declare_norm(to, ours + ".mlp_norm", {theirs + ".post_attention_layernorm"}, model, hidden);
  layer.feed = declare_mlp(to, ours + ".mlp", mlp_of(model, theirs + ".mlp", parts), model);
  return layer;
}

} // namespace

layers::decoder build_rotary_decoder(const weights::model_config& model,
                                     layers::declaration& to,
                                     const rotary_parts& parts) {
  layers::decoder made;
  made.hidden = model.hidden;
  made.rope = model.rope;
  if (to.place.is_first_stage()) {
    made.embedding = declare_embedding(to, "embedding", {"model.embed_tokens"}, model);
  }
  for (auto index = to.place.layers.first; index < to.place.layers.last; ++index) {
    made.layers.push_back(build_layer(model, to, index, parts));
  }
  if (to.place.is_last_stage()) {
    const bool is_tied = model.tie_word_embeddings;
    const auto tied = is_tied && made.embedding ? made.embedding->table : layers::no_weight;
    const auto norm = declare_norm(to, "final_norm", {"model.norm"}, model, model.hidden);
    made.head =
        declare_lm_head(to, "lm_head", {is_tied ? "model.embed_tokens" : "lm_head"}, tied, model);
    made.head->final_norm = norm;
  }
  return made;
}

} // namespace vdist::arch
