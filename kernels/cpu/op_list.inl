// kernels/cpu/op_list.inl — the body of every cpu_<isa>.cpp. The including file defines VDIST_ISA
// (the namespace) and VDIST_ISA_SIMD (the lane type's file). Everything but ops() has internal
// linkage, so that code compiled for one instruction set can never be picked by the linker for
// another.

namespace vdist::kernels::VDIST_ISA {
namespace {

// Each file uses the ones above it.
// clang-format off
#include "kernels/cpu/scalar_convert.inl"
#include VDIST_ISA_SIMD
#include "kernels/cpu/lane_math.inl"
#include "kernels/cpu/linear.inl"
#include "kernels/cpu/linear_panel.inl"
#include "kernels/cpu/attention_scores.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/elementwise.inl"
// clang-format on

} // namespace

const op_table& ops() noexcept {
  static constexpr op_table table{.name = VDIST_ISA_NAME,
                                  .tile_tokens = tile_tokens,
                                  .direct_tokens = linear_direct_tokens,
                                  .linear_direct = linear_direct,
                                  .linear_pack = linear_pack,
                                  .linear_panel = linear_panel,
                                  .attention = attention,
                                  .rms_norm = rms_norm,
                                  .layer_norm = layer_norm,
                                  .rope = rope,
                                  .kv_append = kv_append,
                                  .gated_activation = gated_activation,
                                  .activation = activation,
                                  .add_residual = add_residual,
                                  .embedding = embedding,
                                  .position_embedding = position_embedding,
                                  .gather_rows = gather_rows};
  return table;
}

} // namespace vdist::kernels::VDIST_ISA
