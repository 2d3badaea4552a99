#include "model/weights/config_families.hpp"

#include "model/weights/config_fields.hpp"
#include "model/weights/rope_fields.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fmt/format.h>

namespace vdist::weights {

namespace {

constexpr number_bounds<std::int64_t> size_bounds{1, max_config_size};
constexpr number_bounds<std::int64_t> position_bounds{1, max_config_positions};

/// The window of Mistral and Qwen files that leave it out.
constexpr std::int32_t usual_window = 4096;

constexpr key_names gpt2_keys{
    .layers = "n_layer",
    .hidden = "n_embd",
    .heads = "n_head",
    .kv_heads = "",
    .head_dim = "",
    .intermediate = "n_inner",
    .max_positions = "n_positions",
    .norm_eps = "layer_norm_epsilon",
    .activation = "activation_function",
};

constexpr key_names opt_keys{
    .kv_heads = "",
    .head_dim = "",
    .intermediate = "ffn_dim",
    .norm_eps = "",
    .activation = "activation_function",
};

result<void> read_gpt2(model_config& config, const json_object& file) {
  config.tie_word_embeddings = true;
  config.attention_bias = true;
  config.mlp_bias = true;
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  // Variants of GPT-2's attention that change its output and that no current checkpoint uses.
  for (const std::string_view key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    VDIST_ASSIGN(const auto is_set, file.boolean(key));
    if (is_set.value_or(false)) {
      return file.failure(errc::unsupported, "unsupported value", key, "false");
    }
  }
  VDIST_ASSIGN(const auto scales, file.boolean("scale_attn_weights"));
  if (!scales.value_or(true)) {
    return file.failure(errc::unsupported, "unsupported value", "scale_attn_weights", "true");
  }
  return {};
}

/// Keys whose default in the reference fits one size of the family: a file without them is taken
/// for damaged.
result<void> require_mention(const json_object& file, std::string_view key) {
  if (!file.mentions(key)) {
    return file.failure(errc::corrupt, "missing key", key, "an integer or null");
  }
  return {};
}

/// The same window in every layer; null means none.
result<void> read_window(model_config& config, const json_object& file, std::int32_t unset) {
  std::int32_t window = file.mentions("sliding_window") ? 0 : unset;
  VDIST_TRY(read_into(window, file, "sliding_window", position_bounds));
  if (window > 0) {
    config.windows.assign(static_cast<std::size_t>(config.layers), window);
  }
  return {};
}

/// layer_types of newer files; in older ones the layers from max_window_layers on have the window.
result<void> keep_full_layers(model_config& config, const json_object& file) {
  VDIST_ASSIGN(const auto types, file.strings("layer_types"));
  if (types.empty()) {
    std::int32_t full = 28;
    VDIST_TRY(read_into(full, file, "max_window_layers", {0, max_config_size}));
    std::fill_n(
        config.windows.begin(), std::min(static_cast<std::size_t>(full), config.windows.size()), 0);
    return {};
  }
  const bool has_window = !config.windows.empty();
  config.windows.resize(static_cast<std::size_t>(config.layers));
  if (types.size() != config.windows.size()) {
    return file.failure(
        errc::corrupt, "illegal value", "layer_types", fmt::format("{} words", config.layers));
  }
  for (std::size_t layer = 0; layer < types.size(); ++layer) {
    if (types[layer] == "full_attention") {
      config.windows[layer] = 0;
    } else if (types[layer] != "sliding_attention") {
      return file.failure(errc::unsupported,
                          "unsupported value",
                          "layer_types",
                          "full_attention sliding_attention");
    } else if (!has_window) {
      return file.failure(errc::corrupt,
                          "a layer has a sliding window of unknown size",
                          "layer_types",
                          "full_attention, or sliding_window and use_sliding_window");
    }
  }
  return {};
}

result<void> read_llama(model_config& config, const json_object& file) {
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  VDIST_TRY(read_into(config.attention_bias, file, "attention_bias"));
  VDIST_TRY(read_into(config.mlp_bias, file, "mlp_bias"));
  return read_rope(config, file);
}

result<void> read_mistral(model_config& config, const json_object& file) {
  VDIST_TRY(require_mention(file, "num_key_value_heads"));
  if (file.has("layer_types")) {
    return file.failure(
        errc::unsupported, "unsupported value", "layer_types", "unset for this architecture");
  }
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  VDIST_TRY(read_window(config, file, usual_window));
  return read_rope(config, file);
}

result<void> read_qwen(model_config& config, const json_object& file) {
  VDIST_TRY(require_mention(file, "num_key_value_heads"));
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  bool has_window = false;
  VDIST_TRY(read_into(has_window, file, "use_sliding_window"));
  if (has_window) {
    VDIST_TRY(read_window(config, file, usual_window));
  }
  VDIST_TRY(keep_full_layers(config, file));
  return read_rope(config, file);
}

result<void> read_qwen2(model_config& config, const json_object& file) {
  config.attention_bias = true;
  return read_qwen(config, file);
}

result<void> read_qwen3(model_config& config, const json_object& file) {
  VDIST_TRY(require_mention(file, "head_dim"));
  VDIST_TRY(read_into(config.attention_bias, file, "attention_bias"));
  return read_qwen(config, file);
}

result<void> read_phi3(model_config& config, const json_object& file) {
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  VDIST_TRY(read_window(config, file, 0));
  return read_rope(config, file);
}

result<void> read_opt(model_config& config, const json_object& file) {
  config.tie_word_embeddings = true;
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  bool has_bias = true;
  VDIST_TRY(read_into(has_bias, file, "enable_bias"));
  config.attention_bias = has_bias;
  config.mlp_bias = has_bias;
  bool is_before = true;
  VDIST_TRY(read_into(is_before, file, "do_layer_norm_before"));
  config.norms = is_before ? norm_placement::before : norm_placement::after;
  bool lacks_final_norm = false; // models tuned before a mistake in the reference was found
  VDIST_TRY(read_into(lacks_final_norm, file, "_remove_final_layer_norm"));
  config.has_final_norm = is_before && !lacks_final_norm;
  VDIST_TRY(read_into(config.embedding_width, file, "word_embed_proj_dim", size_bounds));
  if (config.embedding_width > config.hidden) {
    return file.failure(errc::unsupported,
                        "unsupported value",
                        "word_embed_proj_dim",
                        fmt::format("at most hidden_size = {}", config.hidden));
  }
  bool has_norm_weights = true;
  VDIST_TRY(read_into(has_norm_weights, file, "layer_norm_elementwise_affine"));
  if (!has_norm_weights) {
    return file.failure(
        errc::unsupported, "unsupported value", "layer_norm_elementwise_affine", "true");
  }
  return {};
}

constexpr std::array all_families{
    family{.name = "gpt2",
           .keys = gpt2_keys,
           .columns_per_hidden = 4,
           .norm = norm_kind::layer_norm,
           .norm_eps = 1e-5,
           .activation = kernels::activation_kind::gelu_tanh,
           .read_rest = read_gpt2},
    family{.name = "llama", .read_rest = read_llama},
    family{.name = "mistral", .read_rest = read_mistral},
    family{.name = "opt",
           .keys = opt_keys,
           .norm = norm_kind::layer_norm,
           .norm_eps = 1e-5,
           .activation = kernels::activation_kind::relu,
           .read_rest = read_opt},
    family{.name = "phi3", .norm_eps = 1e-5, .read_rest = read_phi3},
    family{.name = "qwen2", .read_rest = read_qwen2},
    family{.name = "qwen3", .read_rest = read_qwen3},
};

} // namespace

std::span<const family> families() noexcept {
  return all_families;
}

} // namespace vdist::weights
