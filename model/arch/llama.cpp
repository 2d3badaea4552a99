// Llama 2, 3, 3.1 (rope scaling), 3.2 (tied embeddings): RMSNorm, rotary positions, grouped-query
// attention, gated MLP. Source: Touvron et al. 2023 (arXiv:2307.09288); Llama team 2024
// (arXiv:2407.21783).
#include "model/arch/builders.hpp"

#include <fmt/format.h>

namespace vdist::arch {

namespace {

layers::decoder_layer
build_layer(const weights::model_config& model, layers::declaration& to, std::int32_t index) {
  const auto ours = fmt::format("layers.{}", index);
  const auto theirs = fmt::format("model.layers.{}", index);
  const auto hidden = model.hidden;
  const auto linear =
      [&theirs](const char* name, std::int32_t out, std::int32_t in, bool has_bias) {
        return layers::linear_source{
            .names = {theirs + name}, .out_features = out, .in_features = in, .has_bias = has_bias};
      };
  const auto q_width = model.heads * model.head_dim;
  const auto kv_width = model.kv_heads * model.head_dim;
  const bool bias = model.attention_bias;

  layers::decoder_layer layer;
  layer.attention_norm =
      declare_norm(to, ours + ".attention_norm", {theirs + ".input_layernorm"}, model, hidden);
  layer.attend = declare_attention(to,
                                   ours + ".attention",
                                   {.q = linear(".self_attn.q_proj", q_width, hidden, bias),
                                    .k = linear(".self_attn.k_proj", kv_width, hidden, bias),
                                    .v = linear(".self_attn.v_proj", kv_width, hidden, bias),
                                    .out = linear(".self_attn.o_proj", hidden, q_width, bias),
                                    .q_norm = {},
                                    .k_norm = {}},
                                   model);
  layer.mlp_norm =
      declare_norm(to, ours + ".mlp_norm", {theirs + ".post_attention_layernorm"}, model, hidden);
  layer.feed =
      declare_mlp(to,
                  ours + ".mlp",
                  {.kind = layers::mlp_kind::gated,
                   .gate = linear(".mlp.gate_proj", model.intermediate, hidden, model.mlp_bias),
                   .up = linear(".mlp.up_proj", model.intermediate, hidden, model.mlp_bias),
                   .down = linear(".mlp.down_proj", hidden, model.intermediate, model.mlp_bias)},
                  model);
  return layer;
}

} // namespace

layers::decoder build_llama(const weights::model_config& model, layers::declaration& to) {
  layers::decoder made;
  made.hidden = model.hidden;
  made.rope = model.rope;
  if (to.place.is_first_stage()) {
    made.embedding = declare_embedding(to, "embedding", {"model.embed_tokens"}, model);
  }
  for (auto index = to.place.layers.first; index < to.place.layers.last; ++index) {
    made.layers.push_back(build_layer(model, to, index));
  }
  if (to.place.is_last_stage()) {
    const bool is_tied = model.tie_word_embeddings;
    const auto tied = is_tied && made.embedding ? made.embedding->table : layers::no_weight;
    const auto norm = declare_norm(to, "final_norm", {"model.norm"}, model, model.hidden);
    made.head = declare_lm_head(
        to, "lm_head", {is_tied ? "model.embed_tokens" : "lm_head"}, norm, tied, model);
  }
  return made;
}

} // namespace vdist::arch
