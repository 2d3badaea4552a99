// Qwen 3, dense: Llama with an RMSNorm over every head of q and k; heads are wider or narrower than
// their share of the residual stream. Source: Qwen team 2025 (arXiv:2505.09388).
#include "model/arch/builders.hpp"
#include "model/arch/rotary_decoder.hpp"

namespace vdist::arch {

layers::decoder build_qwen3(const weights::model_config& model, layers::declaration& to) {
  return build_rotary_decoder(model,
                              to,
                              {.qkv_bias = model.attention_bias,
                               .output_bias = model.attention_bias,
                               .has_head_norms = true});
}

} // namespace vdist::arch
