// OPT: LayerNorm, learned positions that count from 2, biases, ReLU, tied LM head. OPT 350m has its
// norms behind the blocks, none at the end, and a token table narrower than the residual stream with
// a linear on either side. Published checkpoints name their tensors with and without the prefix
// "model.". Source: Zhang et al. 2022 (arXiv:2205.01068).
#include "model/arch/builders.hpp"

#include <fmt/format.h>
#include <string>
#include <vector>

namespace vdist::arch {

namespace {

constexpr std::int32_t first_position = 2;

std::vector<std::string> names_of(const std::string& name) {
  return {"model.decoder." + name, "decoder." + name};
}

layers::linear_source
linear(const std::string& name, std::int32_t out, std::int32_t in, bool has_bias) {
  return {.names = names_of(name), .out_features = out, .in_features = in, .has_bias = has_bias};
}

layers::decoder_layer
build_layer(const weights::model_config& model, layers::declaration& to, std::int32_t index) {
  const auto ours = fmt::format("layers.{}", index);
  const auto theirs = ours;
  const auto hidden = model.hidden;
  const auto square = [&](const char* name) {
    return linear(theirs + ".self_attn" + name, hidden, hidden, model.attention_bias);
  };

  layers::decoder_layer layer;
  layer.attention_norm = declare_norm(
      to, ours + ".attention_norm", names_of(theirs + ".self_attn_layer_norm"), model, hidden);
  layer.attend = declare_attention(to,
                                   ours + ".attention",
                                   {.q = square(".q_proj"),
                                    .k = square(".k_proj"),
                                    .v = square(".v_proj"),
                                    .out = square(".out_proj")},
                                   model);
  layer.mlp_norm =
      declare_norm(to, ours + ".mlp_norm", names_of(theirs + ".final_layer_norm"), model, hidden);
  layer.feed =
      declare_mlp(to,
                  ours + ".mlp",
                  {.kind = layers::mlp_kind::plain,
                   .up = linear(theirs + ".fc1", model.intermediate, hidden, model.mlp_bias),
                   .down = linear(theirs + ".fc2", hidden, model.intermediate, model.mlp_bias)},
                  model);
  return layer;
}

layers::lm_head build_head(const weights::model_config& model,
                           layers::declaration& to,
                           layers::weight_ref embedding) {
  std::optional<layers::norm> norm;
  if (model.has_final_norm) {
    norm = declare_norm(to, "final_norm", names_of("final_layer_norm"), model, model.hidden);
  }
  const bool is_tied = model.tie_word_embeddings;
  auto head =
      declare_lm_head(to,
                      "lm_head",
                      is_tied ? names_of("embed_tokens") : std::vector<std::string>{"lm_head"},
                      is_tied ? embedding : layers::no_weight,
                      model);
  head.final_norm = norm;
  if (model.embedding_width != model.hidden) {
    head.narrow = declare_whole(
        to, "narrow", linear("project_out", model.embedding_width, model.hidden, false));
  }
  return head;
}

} // namespace

layers::decoder build_opt(const weights::model_config& model, layers::declaration& to) {
  layers::decoder made;
  made.hidden = model.hidden;
  made.norms = model.norms;
  if (to.place.is_first_stage()) {
    made.embedding = declare_embedding(to, "embedding", names_of("embed_tokens"), model);
    if (model.embedding_width != model.hidden) {
      made.widen = declare_whole(
          to, "widen", linear("project_in", model.hidden, model.embedding_width, false));
    }
    made.positions =
        declare_positions(to, "positions", names_of("embed_positions"), model, first_position);
  }
  for (auto index = to.place.layers.first; index < to.place.layers.last; ++index) {
    made.layers.push_back(build_layer(model, to, index));
  }
  if (to.place.is_last_stage()) {
    made.head = build_head(model, to, made.embedding ? made.embedding->table : layers::no_weight);
  }
  return made;
}

} // namespace vdist::arch
