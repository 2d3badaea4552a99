#include "tests/model/arch/published_configs.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>

namespace vdist::testing {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 7> claimed{"GPT2LMHeadModel",
                                                  "LlamaForCausalLM",
                                                  "MistralForCausalLM",
                                                  "OPTForCausalLM",
                                                  "Phi3ForCausalLM",
                                                  "Qwen2ForCausalLM",
                                                  "Qwen3ForCausalLM"};

std::int64_t integer(const json& config, const char* key, std::int64_t unset) {
  return config.contains(key) && !config.at(key).is_null() ? config.at(key).get<std::int64_t>()
                                                           : unset;
}

/// Norms have a scale and a shift, every linear has a bias, positions are learned.
model_elements count_layer_norm_model(const json& config, bool is_opt) {
  const auto hidden = config.at(is_opt ? "hidden_size" : "n_embd").get<std::int64_t>();
  const auto inner =
      is_opt ? config.at("ffn_dim").get<std::int64_t>() : integer(config, "n_inner", 4 * hidden);
  const auto heads = config.at(is_opt ? "num_attention_heads" : "n_head").get<std::int64_t>();
  const auto width = is_opt ? integer(config, "word_embed_proj_dim", hidden) : hidden;
  const auto positions = is_opt ? config.at("max_position_embeddings").get<std::int64_t>() + 2
                                : config.at("n_positions").get<std::int64_t>();
  const auto projection = width == hidden ? 0 : width * hidden;
  const bool has_final_norm = !is_opt || config.at("do_layer_norm_before").get<bool>();
  return {.layers = config.at(is_opt ? "num_hidden_layers" : "n_layer").get<std::int64_t>(),
          .kv_heads = heads,
          .head_dim = hidden / heads,
          .split = 2 * hidden * hidden + hidden + 2 * hidden * inner + inner,
          .kv = 2 * (hidden * hidden + hidden),
          .layer_vectors = 4 * hidden + 2 * hidden, // two norms; biases of o and of the MLP's sum
          .table = config.at("vocab_size").get<std::int64_t>() * width,
          .head = 0,
          .first_copied = positions * hidden + projection,
          .last_copied = (has_final_norm ? 2 * hidden : 0) + projection};
}

/// Llama and its relatives.
model_elements count_rotary_model(const json& config, const std::string& name) {
  const auto hidden = config.at("hidden_size").get<std::int64_t>();
  const auto inner = config.at("intermediate_size").get<std::int64_t>();
  const auto heads = config.at("num_attention_heads").get<std::int64_t>();
  const auto kv_heads = integer(config, "num_key_value_heads", heads);
  const auto head_dim = integer(config, "head_dim", hidden / heads);
  const std::int64_t qkv_bias = name == "Qwen2ForCausalLM" ? 1 : 0; // elements per output
  const auto table = config.at("vocab_size").get<std::int64_t>() * hidden;
  return {.layers = config.at("num_hidden_layers").get<std::int64_t>(),
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .split = heads * head_dim * (2 * hidden + qkv_bias) + 3 * hidden * inner,
          .kv = 2 * kv_heads * head_dim * (hidden + qkv_bias),
          .layer_vectors = 2 * hidden + (name == "Qwen3ForCausalLM" ? 2 * head_dim : 0),
          .table = table,
          .head = config.value("tie_word_embeddings", false) ? 0 : table,
          .first_copied = 0,
          .last_copied = hidden};
}

} // namespace

bool is_claimed(const std::string& class_name) {
  return std::find(claimed.begin(), claimed.end(), class_name) != claimed.end();
}

std::int64_t model_elements::total() const {
  return over_ranks(1, 1);
}

std::int64_t model_elements::over_ranks(std::int32_t tensor, std::int32_t stages) const {
  const auto copies = std::max<std::int64_t>(1, tensor / kv_heads);
  const bool is_held_twice = head == 0 && stages > 1;
  return layers * (split + kv * copies + layer_vectors * tensor) + table
         + (is_held_twice ? table : head) + (first_copied + last_copied) * tensor;
}

model_elements count_elements(const json& config) {
  const auto name = class_of(config);
  if (name == "GPT2LMHeadModel" || name == "OPTForCausalLM") {
    return count_layer_norm_model(config, name == "OPTForCausalLM");
  }
  return count_rotary_model(config, name);
}

json read_json_file(const std::filesystem::path& file) {
  std::ifstream in(file);
  return json::parse(in);
}

std::string class_of(const json& config) {
  return config.contains("architectures") ? config.at("architectures").at(0).get<std::string>()
                                          : config.at("model_type").get<std::string>();
}

} // namespace vdist::testing
