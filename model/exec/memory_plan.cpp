#include "model/exec/memory_plan.hpp"

#include "model/exec/workspace.hpp"

#include <algorithm>

namespace vdist::exec {

namespace {

std::size_t aligned(std::size_t bytes) {
  return (bytes + region_alignment - 1) / region_alignment * region_alignment;
}

/// Keys (or values) of one layer in one block.
std::size_t
half_block_bytes(const layers::attention& attend, kernels::dtype type, std::int32_t block_size) {
  return static_cast<std::size_t>(attend.kv_heads) * static_cast<std::size_t>(attend.head_dim)
         * static_cast<std::size_t>(block_size) * kernels::size_of(type);
}

std::size_t half_layer_bytes(const layers::attention& attend,
                             kernels::dtype type,
                             const runner_limits& limits) {
  return aligned(half_block_bytes(attend, type, limits.block_size)
                 * static_cast<std::size_t>(limits.blocks));
}

} // namespace

std::size_t kv_bytes_per_block(const arch::network& network, std::int32_t block_size) {
  std::size_t bytes = 0;
  for (const auto& layer : network.decoder.layers) {
    bytes += 2 * half_block_bytes(layer.attend, network.type, block_size);
  }
  return bytes;
}

std::size_t kv_bytes(const arch::network& network, const runner_limits& limits) {
  std::size_t bytes = 0;
  for (const auto& layer : network.decoder.layers) {
    bytes += 2 * half_layer_bytes(layer.attend, network.type, limits);
  }
  return bytes;
}

std::vector<kernels::paged_kv>
lay_out_kv(const arch::network& network, const runner_limits& limits, std::byte* base) {
  std::vector<kernels::paged_kv> layers;
  for (const auto& layer : network.decoder.layers) {
    const auto half = half_layer_bytes(layer.attend, network.type, limits);
    layers.push_back({.keys = base,
                      .values = base + half,
                      .type = network.type,
                      .block_size = limits.block_size,
                      .kv_heads = layer.attend.kv_heads,
                      .head_dim = layer.attend.head_dim});
    base += 2 * half;
  }
  return layers;
}

backend_needs needs_of(const arch::network& network, const runner_limits& limits) {
  const auto& decoder = network.decoder;
  backend_needs needs{.max_positions = limits.max_positions,
                      .max_tokens = std::max(limits.max_batch_tokens, limits.max_sequences),
                      .max_features = decoder.hidden};
  for (const auto& layer : decoder.layers) {
    needs.max_features =
        std::max({needs.max_features, layer.attend.out.in_features, layer.feed.down.in_features});
    needs.max_heads = std::max(needs.max_heads, layer.attend.heads);
    needs.max_head_dim = std::max(needs.max_head_dim, layer.attend.head_dim);
  }
  if (decoder.head) {
    needs.max_logit_rows = limits.logit_rows;
    needs.max_vocabulary = decoder.head->vocabulary;
  }
  return needs;
}

namespace {

/// Cosines and sines of every position.
std::size_t rope_bytes(const arch::network& network, const runner_limits& limits) {
  const auto& rope = network.decoder.rope;
  return rope ? static_cast<std::size_t>(rope->rotary_dim)
                    * static_cast<std::size_t>(limits.max_positions) * sizeof(float)
              : 0;
}

std::size_t activation_bytes(const arch::network& network,
                             const runner_limits& limits,
                             const activation_form& form) {
  const auto& decoder = network.decoder;
  return workspace::bytes(decoder, limits.first_step_tokens(), form)
         + (limits.has_large_steps() ? workspace::bytes(decoder, limits.max_batch_tokens, form) : 0)
         + head_space::bytes(decoder, limits, form) + rope_bytes(network, limits);
}

} // namespace

rank_memory
memory_of(const arch::network& network, const runner_limits& limits, const activation_form& form) {
  return {.weights = network.plan.bytes,
          .kv_per_block = kv_bytes_per_block(network, limits.block_size),
          .activations = activation_bytes(network, limits, form)};
}

} // namespace vdist::exec
