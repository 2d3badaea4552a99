#include "kernels/backend.hpp"

#include "kernels/contract.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vdist::kernels {

namespace {

#include "kernels/cpu/scalar_convert.inl"

} // namespace

void backend::linear_residual(const linear_residual_args& args) noexcept {
  linear_args sum = args.linear;
  sum.bias = nullptr;
  linear(sum);
  add_residual({.hidden = args.hidden,
                .delta = sum.y,
                .bias = args.linear.bias,
                .rows = sum.tokens,
                .width = sum.out_features,
                .hidden_stride = args.hidden_stride,
                .delta_stride = sum.y_stride});
}

void backend::gated_linear(const gated_linear_args& args) noexcept {
  linear(args.linear);
  gated_activation({.gate_up = args.linear.y,
                    .y = args.y,
                    .rows = args.linear.tokens,
                    .width = args.linear.out_features / 2,
                    .x_stride = args.linear.y_stride,
                    .y_stride = args.y_stride,
                    .kind = args.kind});
}

namespace {

/// Norms each of `count` heads that lie side by side in every row of qkv.
void norm_heads(
    backend& ops, const qkv_args& args, const float* weight, elements first_head, int count) {
  const auto head_dim = args.kv.head_dim;
  const auto tokens = args.batch.tokens;
  // One call for each head or for each token, whichever are fewer: the bits are the same (N-1).
  const bool by_heads = count <= tokens;
  const auto calls = by_heads ? count : tokens;
  const auto stride = by_heads ? args.stride : head_dim;
  for (std::int32_t call = 0; call < calls; ++call) {
    const auto x = first_head.behind(call * (by_heads ? std::int64_t{head_dim} : args.stride));
    ops.rms_norm({.x = x,
                  .weight = weight,
                  .y = x,
                  .rows = by_heads ? tokens : count,
                  .width = head_dim,
                  .x_stride = stride,
                  .y_stride = stride,
                  .eps = args.eps});
  }
}

} // namespace

void backend::prepare_qkv(const qkv_args& args) noexcept {
  const elements k = args.qkv.behind(std::int64_t{args.heads} * args.kv.head_dim);
  const elements v = k.behind(std::int64_t{args.kv.kv_heads} * args.kv.head_dim);
  if (args.q_norm != nullptr) {
    norm_heads(*this, args, args.q_norm, args.qkv, args.heads);
  }
  if (args.k_norm != nullptr) {
    norm_heads(*this, args, args.k_norm, k, args.kv.kv_heads);
  }
  if (args.rotary_dim > 0) {
    rope({.x = args.qkv,
          .positions = args.positions,
          .cos_table = args.cos_table,
          .sin_table = args.sin_table,
          .tokens = args.batch.tokens,
          .heads = args.heads + args.kv.kv_heads,
          .head_dim = args.kv.head_dim,
          .rotary_dim = args.rotary_dim,
          .x_stride = args.stride});
  }
  kv_append({.k = k,
             .v = v,
             .k_stride = args.stride,
             .v_stride = args.stride,
             .kv = args.kv,
             .batch = args.batch});
}

namespace {

void store(float value, elements at) {
  if (at.type == dtype::float32) {
    std::memcpy(at.data, &value, sizeof value);
    return;
  }
  const auto half = at.type == dtype::bfloat16 ? float_to_bfloat(value) : float_to_half(value);
  std::memcpy(at.data, &half, sizeof half);
}

} // namespace

void backend::fill_random(const random_fill_args& args) noexcept {
  VDIST_CONTRACT("fill_random", queue().is_host_memory());
  for (std::int64_t row = 0; row < args.rows; ++row) {
    std::uint64_t index = args.first + static_cast<std::uint64_t>(row) * args.row_step;
    for (std::int64_t column = 0; column < args.columns; ++column, index += args.column_step) {
      store(random_element(args.rule, index), args.y.behind(row * args.y_stride + column));
    }
  }
}

void backend::checksum(const checksum_args& args) noexcept {
  VDIST_CONTRACT("checksum", queue().is_host_memory());
  const auto* const data = static_cast<const std::byte*>(args.data);
  const auto words = args.bytes / sizeof(std::uint64_t);
  auto sum = checksum_length(args.bytes);
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i * sizeof word, sizeof word);
    sum += checksum_mix(word, i);
  }
  if (const auto left = args.bytes % sizeof(std::uint64_t); left > 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + words * sizeof word, left);
    sum += checksum_mix(word, words);
  }
  *args.sum = sum;
}

// Whoever calls one of these has not asked has_device_sampling().

void backend::sample(const sample_args& /*args*/) noexcept {
  contract_broken("sample", "has_device_sampling()");
}

void backend::take_fed_tokens(const fed_tokens_args& /*args*/) noexcept {
  contract_broken("take_fed_tokens", "has_device_sampling()");
}

void backend::update_blocks(const block_updates_args& /*args*/) noexcept {
  contract_broken("update_blocks", "has_device_sampling()");
}

bool backend::inject(injected_fault /*what*/) noexcept {
  return false;
}

void backend::flip_bit(float* word) noexcept {
  constexpr std::uint32_t flipped = 1U << 22U; // the highest bit of the fraction
  std::uint32_t bits = 0;
  std::memcpy(&bits, word, sizeof bits);
  bits ^= flipped;
  std::memcpy(word, &bits, sizeof bits);
}

std::unique_ptr<device_group> backend::join_group(const device_group_config& /*config*/,
                                                  std::string& why) {
  why = std::string(name()) + " has no collectives of its own";
  return nullptr;
}

} // namespace vdist::kernels
