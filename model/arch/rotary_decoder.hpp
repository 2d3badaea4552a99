// model/arch/rotary_decoder.hpp — Llama and its relatives: RMSNorm before each block, rotary
// positions, grouped-query attention, gated MLP, the same names in the checkpoint. They differ in a
// few parts; an architecture file states them, the rest comes from the configuration (head sizes,
// windows by layer, frequency scaling, tied tables). Called by architecture files only.
#pragma once

#include "model/layers/declare.hpp"
#include "model/layers/decoder.hpp"
#include "model/weights/model_config.hpp"

#include <cstdint>

namespace vdist::arch {

/// How the checkpoint stores q, k and v, and gate and up.
enum class projections : std::uint8_t {
  apart, // q_proj, k_proj, v_proj; gate_proj, up_proj
  fused, // qkv_proj; gate_up_proj
};

struct rotary_parts {
  projections stored = projections::apart;
  bool qkv_bias = false;
  bool output_bias = false; // of attention
  bool mlp_bias = false;
  bool has_head_norms = false; // over each head of q and k, before they are rotated
};

[[nodiscard]] layers::decoder build_rotary_decoder(const weights::model_config& model,
                                                   layers::declaration& to,
                                                   const rotary_parts& parts);

} // namespace vdist::arch
