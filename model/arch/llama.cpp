// Llama 2, 3, 3.1 (rope scaling), 3.2 (tied embeddings). Source: Touvron et al. 2023
// (arXiv:2307.09288); Llama team 2024 (arXiv:2407.21783).
#include "model/arch/builders.hpp"
#include "model/arch/rotary_decoder.hpp"

namespace vdist::arch {

layers::decoder build_llama(const weights::model_config& model, layers::declaration& to) {
  return build_rotary_decoder(model,
                              to,
                              {.qkv_bias = model.attention_bias,
                               .output_bias = model.attention_bias,
                               .mlp_bias = model.mlp_bias});
}

} // namespace vdist::arch
