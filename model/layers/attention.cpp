#include "model/layers/attention.hpp"

namespace vdist::layers {

result<void> attention::add_to_residual(const context& in,
                                        kernels::const_elements x,
                                        const rope_view& rope,
                                        const kernels::paged_kv& kv) const {
  qkv.forward(in, x, in.tokens(), in.space.qkv, qkv_width());
  in.ops.prepare_qkv({.qkv = in.space.qkv,
                      .stride = qkv_width(),
                      .heads = heads,
                      .q_norm = q_norm ? in.weight<float>(q_norm->weight) : nullptr,
                      .k_norm = k_norm ? in.weight<float>(k_norm->weight) : nullptr,
                      .eps = q_norm ? q_norm->eps : 0,
                      .cos_table = rope.cos,
                      .sin_table = rope.sin,
                      .rotary_dim = rope.rotary_dim,
                      .positions = in.positions,
                      .kv = kv,
                      .batch = in.batch});
  in.ops.attention({.q = in.space.qkv,
                    .out = in.space.attended,
                    .q_stride = qkv_width(),
                    .out_stride = std::int64_t{heads} * head_dim,
                    .kv = kv,
                    .batch = in.batch,
                    .heads = heads,
                    .scale = scale,
                    .window = window,
                    .max_position = in.max_position});
  return out.add_to_residual(in, in.space.attended);
}

} // namespace vdist::layers
