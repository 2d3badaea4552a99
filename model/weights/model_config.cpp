#include "model/weights/model_config.hpp"

#include "model/weights/config_families.hpp"
#include "model/weights/config_fields.hpp"

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

result<void> read_heads(model_config& config, const json_object& file, const key_names& keys) {
  config.kv_heads = config.heads;
  VDIST_TRY(read_into(config.kv_heads, file, keys.kv_heads, size_bounds));
  VDIST_TRY(read_into(config.head_dim, file, keys.head_dim, size_bounds));
  if (config.heads % config.kv_heads != 0) {
    return file.failure(errc::corrupt,
                        "illegal value",
                        keys.kv_heads,
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
  if (std::int64_t{config.heads} * config.head_dim > max_config_size) {
    return file.failure(errc::corrupt,
                        "illegal value",
                        keys.head_dim,
                        fmt::format("at most {} over all heads", max_config_size));
  }
  return {};
}

result<void> read_sizes(model_config& config, const json_object& file, const family& of) {
  const auto& keys = of.keys;
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
  config.embedding_width = config.hidden;
  config.max_positions = static_cast<std::int32_t>(positions);
  if (of.columns_per_hidden > 0 && !file.has(keys.intermediate)) {
    config.intermediate = of.columns_per_hidden * config.hidden;
  } else {
    VDIST_ASSIGN(const auto intermediate, size(keys.intermediate));
    config.intermediate = static_cast<std::int32_t>(intermediate);
  }
  return read_heads(config, file, keys);
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

/// The family that `name` names; nullptr if it is not among the supported ones.
const family* find_family(std::string_view name, std::span<const std::string_view> supported) {
  for (const family& known : families()) {
    const bool is_supported =
        std::find(supported.begin(), supported.end(), known.name) != supported.end();
    if (is_supported && squashed(known.name) == squashed(name)) {
      return &known;
    }
  }
  return nullptr;
}

result<const family*> read_family(const json_object& file,
                                  std::string_view origin,
                                  std::span<const std::string_view> supported) {
  VDIST_ASSIGN(const auto classes, file.strings("architectures"));
  VDIST_ASSIGN(const auto model_type, file.string("model_type"));
  if (classes.empty() && !model_type) {
    return file.failure(errc::corrupt, "missing key", "architectures", "a list of one class name");
  }
  const std::string& name = classes.empty() ? *model_type : classes.front();
  if (const family* const found = find_family(name, supported)) {
    return found;
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
  VDIST_ASSIGN(const family* const of, read_family(file, origin, supported));
  VDIST_TRY(refuse_quantization(file));

  model_config config;
  config.architecture = of->name;
  VDIST_TRY(read_sizes(config, file, *of));
  config.norm = of->norm;
  double eps = of->norm_eps;
  VDIST_TRY(read_into(eps, file, of->keys.norm_eps, eps_bounds));
  config.norm_eps = static_cast<float>(eps);
  VDIST_ASSIGN(config.activation,
               look_up(file, of->keys.activation, activation_words, of->activation));
  const std::string_view type_key = file.has("dtype") ? "dtype" : "torch_dtype";
  VDIST_ASSIGN(config.type, look_up(file, type_key, type_words, kernels::dtype::float32));
  VDIST_TRY(of->read_rest(config, file));
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
