// Phi 3 mini and medium, 3.5 mini, 4 (phi3 too), 4 mini (part of a head rotated): Llama with q, k and
// v stored as one matrix and gate and up as another; long contexts by longrope. Source: Abdin et al.
// 2024 (arXiv:2404.14219).
#include "model/arch/builders.hpp"
#include "model/arch/rotary_decoder.hpp"

namespace vdist::arch {

layers::decoder build_phi3(const weights::model_config& model, layers::declaration& to) {
  return build_rotary_decoder(model, to, {.stored = projections::fused});
}

} // namespace vdist::arch
