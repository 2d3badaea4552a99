// GPT-2: LayerNorm, learned positions, fused qkv stored as Conv1D (input features first), plain
// MLP, tied LM head. Published checkpoints name their tensors with and without the prefix
// "transformer.". Source: Radford et al. 2019.
#include "model/arch/builders.hpp"

#include <fmt/format.h>
#include <string>
#include <vector>

namespace vdist::arch {

namespace {

std::vector<std::string> names_of(const std::string& name) {
  return {"transformer." + name, name};
}

layers::linear_source
conv1d(const std::string& name, std::int32_t out, std::int32_t in, std::int32_t first_row = 0) {
  return {.names = names_of(name),
          .out_features = out,
          .in_features = in,
          .has_bias = true,
          .stored = weights::storage::transposed,
          .first_row = first_row};
}

layers::decoder_layer
build_layer(const weights::model_config& model, layers::declaration& to, std::int32_t index) {
  const auto ours = fmt::format("layers.{}", index);
  const auto theirs = fmt::format("h.{}", index);
  const auto hidden = model.hidden;
  const auto qkv = theirs + ".attn.c_attn";

  layers::decoder_layer layer;
  layer.attention_norm =
      declare_norm(to, ours + ".attention_norm", names_of(theirs + ".ln_1"), model, hidden);
  layer.attend = declare_attention(to,
                                   ours + ".attention",
                                   {.q = conv1d(qkv, 3 * hidden, hidden),
                                    .k = conv1d(qkv, 3 * hidden, hidden, hidden),
                                    .v = conv1d(qkv, 3 * hidden, hidden, 2 * hidden),
                                    .out = conv1d(theirs + ".attn.c_proj", hidden, hidden)},
                                   model);
  layer.mlp_norm = declare_norm(to, ours + ".mlp_norm", names_of(theirs + ".ln_2"), model, hidden);
  layer.feed = declare_mlp(to,
                           ours + ".mlp",
                           {.kind = layers::mlp_kind::plain,
                            .up = conv1d(theirs + ".mlp.c_fc", model.intermediate, hidden),
                            .down = conv1d(theirs + ".mlp.c_proj", hidden, model.intermediate)},
                           model);
  return layer;
}

} // namespace

layers::decoder build_gpt2(const weights::model_config& model, layers::declaration& to) {
  layers::decoder made;
  made.hidden = model.hidden;
  if (to.place.is_first_stage()) {
    made.embedding = declare_embedding(to, "embedding", names_of("wte"), model);
    made.positions = declare_positions(to, "positions", names_of("wpe"), model, 0);
  }
  for (auto index = to.place.layers.first; index < to.place.layers.last; ++index) {
    made.layers.push_back(build_layer(model, to, index));
  }
  if (to.place.is_last_stage()) {
    const bool is_tied = model.tie_word_embeddings;
    const auto tied = is_tied && made.embedding ? made.embedding->table : layers::no_weight;
    const auto norm = declare_norm(to, "final_norm", names_of("ln_f"), model, model.hidden);
    made.head = declare_lm_head(to,
                                "lm_head",
                                is_tied ? names_of("wte") : std::vector<std::string>{"lm_head"},
                                tied,
                                model);
    made.head->final_norm = norm;
  }
  return made;
}

} // namespace vdist::arch
