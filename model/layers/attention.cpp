#include "model/layers/attention.hpp"

namespace vdist::layers {

void attention::position_heads(const context& in,
                               float* first_head,
                               std::int32_t count,
                               const std::optional<norm>& normed,
                               const rope_table& rope) const {
  if (normed) {
    for (std::int32_t head = 0; head < count; ++head) {
      float* x = first_head + std::int64_t{head} * head_dim;
      normed->forward(in, x, x, in.tokens(), qkv_width());
    }
  }
  if (rope.rotary_dim > 0) {
    in.ops.rope({.x = first_head,
                 .positions = in.positions,
                 .cos_table = rope.cos.data(),
                 .sin_table = rope.sin.data(),
                 .tokens = in.tokens(),
                 .heads = count,
                 .head_dim = head_dim,
                 .rotary_dim = rope.rotary_dim,
                 .x_stride = qkv_width()});
  }
}

result<void> attention::add_to_residual(const context& in,
                                        const float* x,
                                        const rope_table& rope,
                                        const kernels::paged_kv& kv) const {
  qkv.forward(in, x, in.tokens(), in.space.qkv, qkv_width());
  float* q = in.space.qkv;
  float* k = q + std::int64_t{heads} * head_dim;
  float* v = k + std::int64_t{kv_heads} * head_dim;
  if (q_norm || k_norm) {
    position_heads(in, q, heads, q_norm, rope);
    position_heads(in, k, kv_heads, k_norm, rope);
  } else {
    position_heads(in, q, heads + kv_heads, {}, rope); // q and k lie side by side: one call
  }
  in.ops.kv_append({.k = k,
                    .v = v,
                    .k_stride = qkv_width(),
                    .v_stride = qkv_width(),
                    .kv = kv,
                    .batch = in.batch});
  in.ops.attention({.q = q,
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
