// Mistral 7B, Nemo (head_dim of its own), Small 2501: Llama without biases, in some of them with a
// sliding window in every layer. Source: Jiang et al. 2023 (arXiv:2310.06825).
#include "model/arch/builders.hpp"
#include "model/arch/rotary_decoder.hpp"

namespace vdist::arch {

layers::decoder build_mistral(const weights::model_config& model, layers::declaration& to) {
  return build_rotary_decoder(model, to, {});
}

} // namespace vdist::arch
