#include "model/layers/attention.hpp"

namespace vdist::layers {

void attention::norm_heads(const context& in,
                           const norm& by,
                           float* first_head,
                           std::int32_t count) const {
  // One call for each head or for each token, whichever are fewer: the bits are the same (N-1).
  if (count <= in.tokens()) {
    for (std::int32_t head = 0; head < count; ++head) {
      float* x = first_head + std::int64_t{head} * head_dim;
      by.forward(in, x, x, in.tokens(), qkv_width());
    }
    return;
  }
  for (std::int32_t token = 0; token < in.tokens(); ++token) {
    float* x = first_head + token * qkv_width();
    by.forward(in, x, x, count, head_dim);
  }
}

void attention::rotate(const context& in, float* first_head, const rope_table& rope) const {
  if (rope.rotary_dim == 0) {
    return;
  }
  in.ops.rope({.x = first_head,
               .positions = in.positions,
               .cos_table = rope.cos.data(),
               .sin_table = rope.sin.data(),
               .tokens = in.tokens(),
               .heads = heads + kv_heads,
               .head_dim = head_dim,
               .rotary_dim = rope.rotary_dim,
               .x_stride = qkv_width()});
}

result<void> attention::add_to_residual(const context& in,
                                        const float* x,
                                        const rope_table& rope,
                                        const kernels::paged_kv& kv) const {
  qkv.forward(in, x, in.tokens(), in.space.qkv, qkv_width());
  float* q = in.space.qkv;
  float* k = q + std::int64_t{heads} * head_dim;
  float* v = k + std::int64_t{kv_heads} * head_dim;
  if (q_norm) {
    norm_heads(in, *q_norm, q, heads);
  }
  if (k_norm) {
    norm_heads(in, *k_norm, k, kv_heads);
  }
  rotate(in, q, rope);
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
