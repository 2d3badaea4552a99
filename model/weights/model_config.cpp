#include "model/weights/model_config.hpp"

#include "model/weights/json_object.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace vdist::weights {

namespace {

constexpr number_bounds<std::int64_t> size_bounds{1, max_config_size};
constexpr number_bounds<std::int64_t> token_bounds{0, max_config_vocabulary - 1};
constexpr number_bounds<std::int64_t> position_bounds{1, max_config_positions};
constexpr number_bounds<double> eps_bounds{1e-12, 1e-1};
constexpr number_bounds<double> theta_bounds{1.0, 1e12};
constexpr number_bounds<double> factor_bounds{1e-3, 1e6};

/// One table entry of a word in a file and what it means.
template <class Enum>
struct word {
  std::string_view name;
  Enum value;
};

constexpr std::array activation_words{
    word{"silu", kernels::activation_kind::silu},
    word{"swish", kernels::activation_kind::silu},
    word{"gelu", kernels::activation_kind::gelu_erf},
    word{"gelu_new", kernels::activation_kind::gelu_tanh},
    word{"gelu_fast", kernels::activation_kind::gelu_tanh},
    word{"gelu_pytorch_tanh", kernels::activation_kind::gelu_tanh},
    word{"relu", kernels::activation_kind::relu},
};

constexpr std::array type_words{
    word{"float32", kernels::dtype::float32},
    word{"bfloat16", kernels::dtype::bfloat16},
    word{"float16", kernels::dtype::float16},
};

constexpr std::array rope_words{
    word{"default", rope_scaling_kind::none},
    word{"linear", rope_scaling_kind::linear},
    word{"llama3", rope_scaling_kind::llama3},
};

/// The keys under which a family of architectures writes the same facts.
struct key_names {
  std::string_view layers = "num_hidden_layers";
  std::string_view hidden = "hidden_size";
  std::string_view heads = "num_attention_heads";
  std::string_view intermediate = "intermediate_size";
  std::string_view max_positions = "max_position_embeddings";
  std::string_view norm_eps = "rms_norm_eps";
  std::string_view activation = "hidden_act";
};

constexpr key_names gpt2_keys{
    .layers = "n_layer",
    .hidden = "n_embd",
    .heads = "n_head",
    .intermediate = "n_inner",
    .max_positions = "n_positions",
    .norm_eps = "layer_norm_epsilon",
    .activation = "activation_function",
};

template <class Enum, std::size_t Count>
result<Enum> look_up(const json_object& file,
                     std::string_view key,
                     const std::array<word<Enum>, Count>& words,
                     Enum unset) {
  VDIST_ASSIGN(const auto text, file.string(key));
  if (!text) {
    return unset;
  }
  std::vector<std::string_view> legal;
  for (const auto& entry : words) {
    if (entry.name == *text) {
      return entry.value;
    }
    legal.push_back(entry.name);
  }
  return file.failure(
      errc::unsupported, "unsupported value", key, fmt::format("{}", fmt::join(legal, " ")));
}

/// "Qwen3MoeForCausalLM" and "qwen3_moe" → "qwen3moe"; other heads than a language model's keep
/// their name.
std::string squashed(std::string_view name) {
  for (const std::string_view suffix : {"ForCausalLM", "LMHeadModel"}) {
    if (name.ends_with(suffix)) {
      name.remove_suffix(suffix.size());
    }
  }
  std::string plain;
  for (const char letter : name) {
    if (letter != '_') {
      plain.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(letter))));
    }
  }
  return plain;
}

result<std::string> read_architecture(const json_object& file,
                                      std::string_view origin,
                                      std::span<const std::string_view> supported) {
  VDIST_ASSIGN(const auto classes, file.strings("architectures"));
  VDIST_ASSIGN(const auto model_type, file.string("model_type"));
  if (classes.empty() && !model_type) {
    return file.failure(errc::corrupt, "missing key", "architectures", "a list of one class name");
  }
  const std::string& name = classes.empty() ? *model_type : classes.front();
  for (const std::string_view candidate : supported) {
    if (squashed(candidate) == squashed(name)) {
      return std::string(candidate);
    }
  }
  return fail(errc::unsupported,
              fmt::format("read {}: unsupported architecture (key={}, value={}, legal={})",
                          origin,
                          classes.empty() ? "model_type" : "architectures",
                          shown(name),
                          fmt::join(supported, " ")));
}

result<void> refuse_quantization(const json_object& file) {
  VDIST_ASSIGN(const auto quantization, file.object("quantization_config"));
  if (!quantization) {
    return {};
  }
  if (quantization->has("quant_method")) {
    return quantization->failure(errc::unsupported,
                                 "quantised checkpoints cannot be loaded",
                                 "quant_method",
                                 "float32 bfloat16 float16 weights");
  }
  return file.failure(errc::unsupported,
                      "quantised checkpoints cannot be loaded",
                      "quantization_config",
                      "float32 bfloat16 float16 weights");
}

/// Reads an optional integer into `target`, which keeps its value if the key is unset.
result<void> read_into(std::int32_t& target,
                       const json_object& file,
                       std::string_view key,
                       number_bounds<std::int64_t> bounds) {
  VDIST_ASSIGN(const auto value, file.integer(key, bounds));
  if (value) {
    target = static_cast<std::int32_t>(*value);
  }
  return {};
}

result<void> read_into(double& target,
                       const json_object& file,
                       std::string_view key,
                       number_bounds<double> bounds) {
  VDIST_ASSIGN(const auto value, file.number(key, bounds));
  target = value.value_or(target);
  return {};
}

result<void> read_into(bool& target, const json_object& file, std::string_view key) {
  VDIST_ASSIGN(const auto value, file.boolean(key));
  target = value.value_or(target);
  return {};
}

result<void>
read_sizes(model_config& config, const json_object& file, const key_names& keys, bool is_gpt2) {
  const auto size = [&file](std::string_view key) {
    return file.required_integer(key, size_bounds);
  };
  VDIST_ASSIGN(const auto layers, size(keys.layers));
  VDIST_ASSIGN(const auto hidden, size(keys.hidden));
  VDIST_ASSIGN(const auto heads, size(keys.heads));
  VDIST_ASSIGN(const auto vocabulary,
               file.required_integer("vocab_size", {1, max_config_vocabulary}));
  VDIST_ASSIGN(const auto positions, file.required_integer(keys.max_positions, position_bounds));
  config.layers = static_cast<std::int32_t>(layers);
  config.hidden = static_cast<std::int32_t>(hidden);
  config.heads = static_cast<std::int32_t>(heads);
  config.vocabulary = static_cast<std::int32_t>(vocabulary);
  config.max_positions = static_cast<std::int32_t>(positions);
  if (is_gpt2) {
    config.intermediate = 4 * config.hidden; // what GPT-2 means by a null n_inner
    VDIST_TRY(read_into(config.intermediate, file, keys.intermediate, size_bounds));
    config.kv_heads = config.heads;
  } else {
    VDIST_ASSIGN(const auto intermediate, size(keys.intermediate));
    config.intermediate = static_cast<std::int32_t>(intermediate);
    config.kv_heads = config.heads;
    VDIST_TRY(read_into(config.kv_heads, file, "num_key_value_heads", size_bounds));
    VDIST_TRY(read_into(config.head_dim, file, "head_dim", size_bounds));
  }
  if (config.heads % config.kv_heads != 0) {
    return file.failure(errc::corrupt,
                        "illegal value",
                        "num_key_value_heads",
                        fmt::format("a divisor of {} = {}", keys.heads, config.heads));
  }
  if (config.head_dim == 0) {
    if (config.hidden % config.heads != 0) {
      return file.failure(errc::corrupt,
                          "illegal value",
                          keys.heads,
                          fmt::format("a divisor of {} = {}", keys.hidden, config.hidden));
    }
    config.head_dim = config.hidden / config.heads;
  }
  return {};
}

/// `scaling` is rope_scaling, or rope_parameters of newer files.
result<void> read_rope_scaling(rope_config& rope, const json_object& scaling) {
  // Older files say "type"; where both stand, "rope_type" is the one that is read by the reference.
  const std::string_view kind_key =
      scaling.has("rope_type") || !scaling.has("type") ? "rope_type" : "type";
  VDIST_ASSIGN(rope.scaling, look_up(scaling, kind_key, rope_words, rope_scaling_kind::none));
  if (rope.scaling == rope_scaling_kind::none) {
    return {};
  }
  if (!scaling.has("factor")) {
    return scaling.failure(errc::corrupt, "missing key", "factor", "number from 1 to 1e6");
  }
  VDIST_TRY(read_into(rope.factor, scaling, "factor", {1.0, 1e6}));
  if (rope.scaling == rope_scaling_kind::linear) {
    return {};
  }
  for (const std::string_view key :
       {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    if (!scaling.has(key)) {
      return scaling.failure(
          errc::corrupt, "missing key", key, "a number; llama3 scaling needs it");
    }
  }
  VDIST_TRY(read_into(rope.low_freq_factor, scaling, "low_freq_factor", factor_bounds));
  VDIST_TRY(read_into(rope.high_freq_factor, scaling, "high_freq_factor", factor_bounds));
  VDIST_TRY(read_into(
      rope.original_max_positions, scaling, "original_max_position_embeddings", position_bounds));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return scaling.failure(errc::corrupt,
                           "illegal value",
                           "high_freq_factor",
                           fmt::format("above low_freq_factor = {}", rope.low_freq_factor));
  }
  return {};
}

result<void> read_rope(model_config& config, const json_object& file) {
  rope_config rope;
  double partial = 1.0; // share of a head that is rotated
  constexpr number_bounds<double> partial_bounds{1e-3, 1.0};
  VDIST_TRY(read_into(rope.theta, file, "rope_theta", theta_bounds));
  VDIST_TRY(read_into(partial, file, "partial_rotary_factor", partial_bounds));
  VDIST_ASSIGN(const auto scaling, file.object("rope_scaling"));
  if (scaling) {
    VDIST_TRY(read_rope_scaling(rope, *scaling));
  }
  VDIST_ASSIGN(const auto parameters, file.object("rope_parameters"));
  if (parameters) {
    VDIST_TRY(read_into(rope.theta, *parameters, "rope_theta", theta_bounds));
    VDIST_TRY(read_into(partial, *parameters, "partial_rotary_factor", partial_bounds));
    VDIST_TRY(read_rope_scaling(rope, *parameters));
  }
  rope.rotary_dim = static_cast<std::int32_t>(config.head_dim * partial);
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0) {
    return file.failure(errc::corrupt,
                        "rotated part of a head is not even",
                        "partial_rotary_factor",
                        fmt::format("an even part of head_dim = {}", config.head_dim));
  }
  config.rope = rope;
  return {};
}

result<void> read_gpt2_variant(const json_object& file) {
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

result<void> read_llama_variant(model_config& config, const json_object& file) {
  VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
  VDIST_TRY(read_into(config.attention_bias, file, "attention_bias"));
  VDIST_TRY(read_into(config.mlp_bias, file, "mlp_bias"));
  VDIST_ASSIGN(const auto uses_window, file.boolean("use_sliding_window"));
  if (uses_window.value_or(true)) {
    VDIST_TRY(read_into(config.sliding_window, file, "sliding_window", position_bounds));
  }
  return read_rope(config, file);
}

result<void> read_tokens(model_config& config, const json_object& file) {
  // Some files write -1 or an id behind the vocabulary for "none"; what lies outside cannot be
  // sampled, so it is dropped.
  constexpr number_bounds<std::int64_t> bounds{-1, token_bounds.max};
  const auto is_real = [&config](std::int64_t id) {
    return id >= 0 && id < config.vocabulary;
  };
  VDIST_ASSIGN(const auto bos, file.integer("bos_token_id", bounds));
  if (bos && is_real(*bos)) {
    config.bos = static_cast<token_id>(*bos);
  }
  VDIST_ASSIGN(const auto eos, file.integers("eos_token_id", bounds));
  for (const std::int64_t id : eos) {
    if (is_real(id)) {
      config.eos.push_back(static_cast<token_id>(id));
    }
  }
  return {};
}

} // namespace

result<model_config> parse_model_config(std::string_view text,
                                        std::string_view origin,
                                        std::span<const std::string_view> supported) {
  VDIST_ASSIGN(const auto parsed, parse_json_object(text, origin));
  const json_object file(parsed, origin);
  model_config config;
  VDIST_ASSIGN(config.architecture, read_architecture(file, origin, supported));
  VDIST_TRY(refuse_quantization(file));

  const bool is_gpt2 = config.architecture == "gpt2";
  const key_names keys = is_gpt2 ? gpt2_keys : key_names{};
  VDIST_TRY(read_sizes(config, file, keys, is_gpt2));

  config.norm = is_gpt2 ? norm_kind::layer_norm : norm_kind::rms_norm;
  double eps = is_gpt2 ? 1e-5 : 1e-6; // what the reference assumes for files that leave it out
  VDIST_TRY(read_into(eps, file, keys.norm_eps, eps_bounds));
  config.norm_eps = static_cast<float>(eps);

  const auto usual = is_gpt2 ? kernels::activation_kind::gelu_tanh : kernels::activation_kind::silu;
  VDIST_ASSIGN(config.activation, look_up(file, keys.activation, activation_words, usual));
  const std::string_view type_key = file.has("dtype") ? "dtype" : "torch_dtype";
  VDIST_ASSIGN(config.type, look_up(file, type_key, type_words, kernels::dtype::float32));

  if (is_gpt2) {
    config.tie_word_embeddings = true;
    config.attention_bias = true;
    config.mlp_bias = true;
    VDIST_TRY(read_into(config.tie_word_embeddings, file, "tie_word_embeddings"));
    VDIST_TRY(read_gpt2_variant(file));
  } else {
    VDIST_TRY(read_llama_variant(config, file));
  }
  VDIST_TRY(read_tokens(config, file));
  return config;
}

result<model_config> read_model_config(const std::filesystem::path& folder,
                                       std::span<const std::string_view> supported) {
  const std::filesystem::path path = folder / "config.json";
  VDIST_ASSIGN(const auto text, read_text_file(path, max_config_bytes));
  return parse_model_config(text, path.string(), supported);
}

} // namespace vdist::weights
