// Qwen 2 and 2.5: Llama with biases on q, k and v alone; small models tie their tables, and upper
// layers may have a sliding window. Source: Qwen team 2024 (arXiv:2407.10671, arXiv:2412.15115).
#include "model/arch/builders.hpp"
#include "model/arch/rotary_decoder.hpp"

namespace vdist::arch {

layers::decoder build_qwen2(const weights::model_config& model, layers::declaration& to) {
  return build_rotary_decoder(model, to, {.qkv_bias = model.attention_bias});
}

} // namespace vdist::arch
