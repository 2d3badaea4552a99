#include "model/weights/model_config.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/support/test_data.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cmath>
#include <map>
#include <random>
#include <string>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using kernels::activation_kind;
using kernels::dtype;

constexpr std::array<std::string_view, 7> supported{
    "llama", "gpt2", "mistral", "qwen2", "qwen3", "phi3", "opt"};

/// Key → JSON text, so that a test can change or drop one key.
using keys = std::map<std::string, std::string>;

const keys llama{{"architectures", R"(["LlamaForCausalLM"])"},
                 {"model_type", R"("llama")"},
                 {"hidden_size", "64"},
                 {"num_hidden_layers", "5"},
                 {"num_attention_heads", "8"},
                 {"num_key_value_heads", "4"},
                 {"intermediate_size", "172"},
                 {"vocab_size", "512"},
                 {"max_position_embeddings", "128"},
                 {"rms_norm_eps", "1e-05"},
                 {"hidden_act", R"("silu")"},
                 {"rope_theta", "10000.0"},
                 {"tie_word_embeddings", "true"},
                 {"torch_dtype", R"("bfloat16")"},
                 {"bos_token_id", "1"},
                 {"eos_token_id", "2"}};

const keys gpt2{{"architectures", R"(["GPT2LMHeadModel"])"},
                {"n_embd", "48"},
                {"n_layer", "3"},
                {"n_head", "4"},
                {"n_positions", "64"},
                {"n_inner", "null"},
                {"vocab_size", "100"},
                {"activation_function", R"("gelu_new")"},
                {"layer_norm_epsilon", "1e-05"}};

const keys opt{{"architectures", R"(["OPTForCausalLM"])"},
               {"hidden_size", "64"},
               {"num_hidden_layers", "3"},
               {"num_attention_heads", "4"},
               {"ffn_dim", "256"},
               {"vocab_size", "100"},
               {"max_position_embeddings", "128"},
               {"activation_function", R"("relu")"},
               {"do_layer_norm_before", "true"}};

/// The relatives of Llama are written in the same words.
keys relative(const std::string& class_name) {
  keys made = llama;
  made["architectures"] = "[\"" + class_name + "\"]";
  made["tie_word_embeddings"] = "";
  made["head_dim"] = "16";
  return made;
}

const keys mistral = relative("MistralForCausalLM");
const keys qwen2 = relative("Qwen2ForCausalLM");
const keys qwen3 = relative("Qwen3ForCausalLM");
const keys phi3 = relative("Phi3ForCausalLM");

/// `base` with these keys replaced; an empty text drops the key.
std::string text_of(keys base, const keys& changes = {}) {
  std::string text;
  for (const auto& [key, value] : changes) {
    base[key] = value;
  }
  for (const auto& [key, value] : base) {
    if (!value.empty()) {
      text += (text.empty() ? "{\"" : ",\"") + key + "\":" + value;
    }
  }
  return text + "}";
}

result<model_config> parsed(const keys& base, const keys& changes = {}) {
  return parse_model_config(text_of(base, changes), "config.json", supported);
}

error refused(const keys& base, const keys& changes) {
  return error_of(parsed(base, changes));
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_the_facts_of_a_llama) {
  const auto config = parsed(llama);
  BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
  BOOST_TEST(config->architecture == "llama");
  BOOST_TEST(config->layers == 5);
  BOOST_TEST(config->hidden == 64);
  BOOST_TEST(config->heads == 8);
  BOOST_TEST(config->kv_heads == 4);
  BOOST_TEST(config->head_dim == 8);
  BOOST_TEST(config->intermediate == 172);
  BOOST_TEST(config->vocabulary == 512);
  BOOST_TEST(config->max_positions == 128);
  BOOST_TEST((config->norm == norm_kind::rms_norm));
  BOOST_TEST(config->norm_eps == 1e-5F);
  BOOST_TEST((config->activation == activation_kind::silu));
  BOOST_TEST((config->type == dtype::bfloat16));
  BOOST_TEST(config->tie_word_embeddings);
  BOOST_TEST(!config->attention_bias);
  BOOST_TEST(config->bos.value() == 1);
  BOOST_TEST(config->eos == std::vector<token_id>({2}));
  BOOST_REQUIRE(config->rope.has_value());
  BOOST_TEST(config->rope->theta == 10000.0);
  BOOST_TEST(config->rope->rotary_dim == 8);
  BOOST_TEST((config->rope->scaling == rope_scaling_kind::none));
}

BOOST_AUTO_TEST_CASE(reads_the_facts_of_a_gpt2_in_the_same_words) {
  const auto config = parsed(gpt2);
  BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
  BOOST_TEST(config->architecture == "gpt2");
  BOOST_TEST(config->intermediate == 4 * 48);
  BOOST_TEST(config->kv_heads == 4);
  BOOST_TEST(config->head_dim == 12);
  BOOST_TEST((config->norm == norm_kind::layer_norm));
  BOOST_TEST((config->activation == activation_kind::gelu_tanh));
  BOOST_TEST(!config->rope.has_value());
  BOOST_TEST(config->tie_word_embeddings);
  BOOST_TEST(config->attention_bias);
  BOOST_TEST((config->type == dtype::float32));
  BOOST_TEST(parsed(gpt2, {{"n_inner", "100"}})->intermediate == 100);
  BOOST_TEST(!parsed(gpt2, {{"tie_word_embeddings", "false"}})->tie_word_embeddings);
  BOOST_TEST(says(refused(gpt2, {{"scale_attn_by_inverse_layer_idx", "true"}}),
                  errc::unsupported,
                  {"key=scale_attn_by_inverse_layer_idx", "legal=false"}));
}

BOOST_AUTO_TEST_CASE(unset_keys_mean_what_the_reference_assumes) {
  const auto config = parsed(llama,
                             {{"num_key_value_heads", ""},
                              {"rope_theta", ""},
                              {"rms_norm_eps", ""},
                              {"tie_word_embeddings", ""},
                              {"hidden_act", ""},
                              {"torch_dtype", ""},
                              {"bos_token_id", "null"},
                              {"eos_token_id", ""}});
  BOOST_REQUIRE(config.has_value());
  BOOST_TEST(config->kv_heads == 8);
  BOOST_TEST(config->rope->theta == 10000.0);
  BOOST_TEST(config->norm_eps == 1e-6F);
  BOOST_TEST(!config->tie_word_embeddings);
  BOOST_TEST((config->type == dtype::float32));
  BOOST_TEST(!config->bos.has_value());
  BOOST_TEST(config->eos.empty());
}

BOOST_AUTO_TEST_CASE(an_explicit_head_size_wins_over_the_quotient) {
  const auto config = parsed(llama, {{"head_dim", "32"}});
  BOOST_TEST(config->head_dim == 32);
  BOOST_TEST(config->rope->rotary_dim == 32);
  BOOST_TEST(parsed(llama, {{"head_dim", "null"}})->head_dim == 8);
  BOOST_TEST(parsed(llama, {{"partial_rotary_factor", "0.5"}})->rope->rotary_dim == 4);
}

BOOST_AUTO_TEST_CASE(words_become_enums_and_unknown_words_list_the_legal_ones) {
  const std::map<std::string, activation_kind> activations{
      {"silu", activation_kind::silu},
      {"swish", activation_kind::silu},
      {"gelu", activation_kind::gelu_erf},
      {"gelu_new", activation_kind::gelu_tanh},
      {"relu", activation_kind::relu},
      {"gelu_pytorch_tanh", activation_kind::gelu_tanh},
  };
  for (const auto& [name, kind] : activations) {
    BOOST_TEST((parsed(llama, {{"hidden_act", "\"" + name + "\""}})->activation == kind), name);
  }
  BOOST_TEST(says(refused(llama, {{"hidden_act", R"("mish")"}}),
                  errc::unsupported,
                  {"config.json", "key=hidden_act", "mish", "silu", "gelu_pytorch_tanh"}));
  BOOST_TEST((parsed(llama, {{"torch_dtype", R"("float16")"}})->type == dtype::float16));
  // Newer files say dtype; it wins.
  BOOST_TEST((parsed(llama, {{"dtype", R"("float32")"}})->type == dtype::float32));
  BOOST_TEST(says(refused(llama, {{"dtype", R"("float8_e4m3fn")"}}),
                  errc::unsupported,
                  {"key=dtype", "bfloat16"}));
}

BOOST_AUTO_TEST_CASE(several_ends_and_ends_outside_the_vocabulary) {
  BOOST_TEST(parsed(llama, {{"eos_token_id", "[5, 7]"}})->eos == std::vector<token_id>({5, 7}));
  BOOST_TEST(parsed(llama, {{"eos_token_id", "[5, -1, 512]"}})->eos == std::vector<token_id>({5}));
  BOOST_TEST(!parsed(llama, {{"bos_token_id", "-1"}})->bos.has_value());
  BOOST_TEST(
      says(refused(llama, {{"eos_token_id", R"("2")"}}), errc::corrupt, {"key=eos_token_id"}));
}

BOOST_AUTO_TEST_CASE(rope_scaling_is_read_in_the_old_and_the_new_form) {
  const std::string llama3 =
      R"("factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192)";
  const keys forms[] = {
      {{"rope_scaling", R"({"rope_type":"llama3",)" + llama3 + "}"}, {"rope_theta", "500000.0"}},
      {{"rope_scaling", R"({"type":"llama3",)" + llama3 + "}"}, {"rope_theta", "500000"}},
      {{"rope_parameters", R"({"rope_type":"llama3","rope_theta":500000.0,)" + llama3 + "}"},
       {"rope_theta", ""}},
  };
  for (const keys& form : forms) {
    const auto config = parsed(llama, form);
    BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
    BOOST_TEST((config->rope->scaling == rope_scaling_kind::llama3));
    BOOST_TEST(config->rope->theta == 500000.0);
    BOOST_TEST(config->rope->factor == 8.0);
    BOOST_TEST(config->rope->low_freq_factor == 1.0);
    BOOST_TEST(config->rope->high_freq_factor == 4.0);
    BOOST_TEST(config->rope->original_max_positions == 8192);
  }
  const auto linear = parsed(llama, {{"rope_scaling", R"({"type":"linear","factor":2})"}});
  BOOST_TEST((linear->rope->scaling == rope_scaling_kind::linear));
  BOOST_TEST(linear->rope->factor == 2.0);
  BOOST_TEST((parsed(llama, {{"rope_scaling", R"({"rope_type":"default"})"}})->rope->scaling
              == rope_scaling_kind::none));
}

BOOST_AUTO_TEST_CASE(mistral_has_one_window_in_every_layer) {
  using windows = std::vector<std::int32_t>;
  BOOST_TEST(parsed(mistral, {{"sliding_window", "96"}})->windows == windows(5, 96));
  BOOST_TEST(parsed(mistral, {{"sliding_window", "null"}})->windows.empty());
  BOOST_TEST(parsed(mistral)->windows == windows(5, 4096)); // what the reference assumes
  BOOST_TEST(!parsed(mistral)->attention_bias);
  BOOST_TEST(!parsed(mistral)->tie_word_embeddings);
  for (const char* value : {"0", "-1", "1.5", "true"}) {
    BOOST_TEST(
        says(refused(mistral, {{"sliding_window", value}}), errc::corrupt, {"key=sliding_window"}));
  }
  BOOST_TEST(says(refused(mistral, {{"layer_types", R"(["full_attention"])"}}),
                  errc::unsupported,
                  {"key=layer_types", "legal=unset"}));
  // Llama has no window, whatever its file says.
  BOOST_TEST(parsed(llama, {{"sliding_window", "96"}})->windows.empty());
}

BOOST_AUTO_TEST_CASE(qwen_has_windows_from_a_layer_on_if_it_uses_them) {
  using windows = std::vector<std::int32_t>;
  for (const keys& base : {qwen2, qwen3}) {
    const keys in_use{
        {"use_sliding_window", "true"}, {"sliding_window", "96"}, {"max_window_layers", "3"}};
    BOOST_TEST(parsed(base, in_use)->windows == windows({0, 0, 0, 96, 96}));
    keys changed = in_use;
    changed["use_sliding_window"] = "false";
    BOOST_TEST(parsed(base, changed)->window_of(4) == 0);
    changed["use_sliding_window"] = "";
    BOOST_TEST(parsed(base, changed)->window_of(4) == 0);
    changed = in_use;
    changed["max_window_layers"] = "9";
    BOOST_TEST(parsed(base, changed)->windows == windows(5, 0));
    // Newer files say it layer by layer, and then that counts.
    changed = in_use;
    changed["layer_types"] = R"(["sliding_attention","full_attention","full_attention",)"
                             R"("sliding_attention","full_attention"])";
    BOOST_TEST(parsed(base, changed)->windows == windows({96, 0, 0, 96, 0}));
    changed["use_sliding_window"] = "false";
    BOOST_TEST(says(refused(base, changed), errc::corrupt, {"key=layer_types", "unknown size"}));
    changed = in_use;
    changed["layer_types"] = R"(["full_attention"])";
    BOOST_TEST(says(refused(base, changed), errc::corrupt, {"key=layer_types", "5 words"}));
    changed["layer_types"] = R"(["full_attention","full_attention","full_attention",)"
                             R"("linear_attention","full_attention"])";
    BOOST_TEST(says(refused(base, changed),
                    errc::unsupported,
                    {"key=layer_types", "full_attention sliding_attention"}));
  }
}

BOOST_AUTO_TEST_CASE(biases_and_tied_tables_are_those_of_the_architecture) {
  BOOST_TEST(parsed(qwen2)->attention_bias);
  BOOST_TEST(!parsed(qwen2)->mlp_bias);
  BOOST_TEST(!parsed(qwen3)->attention_bias);
  BOOST_TEST(parsed(qwen3, {{"attention_bias", "true"}})->attention_bias);
  BOOST_TEST(!parsed(phi3)->attention_bias);
  for (const keys& base : {mistral, qwen2, qwen3, phi3}) {
    BOOST_TEST(parsed(base, {{"tie_word_embeddings", "true"}})->tie_word_embeddings);
    BOOST_TEST(!parsed(base)->tie_word_embeddings);
  }
  BOOST_TEST((parsed(phi3, {{"rms_norm_eps", ""}})->norm_eps == 1e-5F));
  BOOST_TEST((parsed(qwen2, {{"rms_norm_eps", ""}})->norm_eps == 1e-6F));
}

BOOST_AUTO_TEST_CASE(keys_whose_default_fits_one_size_only_must_be_there) {
  for (const keys& base : {mistral, qwen2, qwen3}) {
    BOOST_TEST(says(refused(base, {{"num_key_value_heads", ""}}),
                    errc::corrupt,
                    {"missing key", "num_key_value_heads"}));
    BOOST_TEST(parsed(base, {{"num_key_value_heads", "null"}})->kv_heads == 8);
  }
  BOOST_TEST(
      says(refused(qwen3, {{"head_dim", ""}}), errc::corrupt, {"missing key", "key=head_dim"}));
  BOOST_TEST(parsed(phi3, {{"num_key_value_heads", ""}})->kv_heads == 8);
}

BOOST_AUTO_TEST_CASE(reads_the_facts_of_an_opt_in_the_same_words) {
  const auto config = parsed(opt);
  BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
  BOOST_TEST(config->intermediate == 256);
  BOOST_TEST(config->kv_heads == 4);
  BOOST_TEST(config->head_dim == 16);
  BOOST_TEST(config->embedding_width == 64);
  BOOST_TEST((config->norm == norm_kind::layer_norm));
  BOOST_TEST((config->norms == norm_placement::before));
  BOOST_TEST(config->has_final_norm);
  BOOST_TEST(config->norm_eps == 1e-5F);
  BOOST_TEST((config->activation == activation_kind::relu));
  BOOST_TEST(config->attention_bias);
  BOOST_TEST(config->mlp_bias);
  BOOST_TEST(config->tie_word_embeddings);
  BOOST_TEST(!config->rope.has_value());
  BOOST_TEST(!parsed(opt, {{"enable_bias", "false"}})->mlp_bias);
  BOOST_TEST(!parsed(opt, {{"_remove_final_layer_norm", "true"}})->has_final_norm);
  const auto post = parsed(opt, {{"do_layer_norm_before", "false"}, {"word_embed_proj_dim", "32"}});
  BOOST_TEST((post->norms == norm_placement::after));
  BOOST_TEST(!post->has_final_norm);
  BOOST_TEST(post->embedding_width == 32);
  BOOST_TEST(says(refused(opt, {{"word_embed_proj_dim", "65"}}),
                  errc::unsupported,
                  {"key=word_embed_proj_dim", "at most hidden_size = 64"}));
  BOOST_TEST(says(refused(opt, {{"layer_norm_elementwise_affine", "false"}}),
                  errc::unsupported,
                  {"key=layer_norm_elementwise_affine", "legal=true"}));
}

BOOST_AUTO_TEST_CASE(longrope_is_read_where_older_and_newer_files_put_it) {
  const std::string factors = R"("short_factor":[1,1.5,2,3],"long_factor":[2,4,8,16])";
  const keys forms[] = {
      {{"original_max_position_embeddings", "32"},
       {"rope_scaling", R"({"type":"su",)" + factors + "}"}},
      {{"original_max_position_embeddings", "32"},
       {"rope_scaling", R"({"type":"longrope",)" + factors + "}"}},
      {{"rope_parameters",
        R"({"rope_type":"longrope","original_max_position_embeddings":32,)" + factors + "}"}},
  };
  for (const keys& form : forms) {
    const auto config = parsed(phi3, [&form] {
      keys changes = form;
      changes["partial_rotary_factor"] = "0.5"; // 8 of 16: four frequencies
      return changes;
    }());
    BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
    BOOST_TEST((config->rope->scaling == rope_scaling_kind::longrope));
    BOOST_TEST(config->rope->rotary_dim == 8);
    BOOST_TEST(config->rope->original_max_positions == 32);
    BOOST_TEST(config->rope->short_factors == std::vector<double>({1, 1.5, 2, 3}));
    BOOST_TEST(config->rope->long_factors == std::vector<double>({2, 4, 8, 16}));
    BOOST_TEST(config->rope->amplitude == std::sqrt(1 + std::log(4.0) / std::log(32.0)));
  }
}

BOOST_AUTO_TEST_CASE(longrope_that_lacks_a_part_is_refused_by_key) {
  const std::string start = R"({"type":"longrope","original_max_position_embeddings":32,)";
  const std::string factors = R"("short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,1])";
  const auto with = [&](const std::string& scaling) {
    return parsed(phi3, {{"rope_scaling", scaling}});
  };
  BOOST_TEST(with(start + factors + "}")->rope->amplitude > 1);
  BOOST_TEST(with(start + factors + R"(,"attention_factor":1.25})")->rope->amplitude == 1.25);
  BOOST_TEST(with(start + factors + R"(,"factor":1})")->rope->amplitude == 1);
  BOOST_TEST(says(error_of(with(R"({"type":"longrope",)" + factors + "}")),
                  errc::corrupt,
                  {"key=rope_scaling.original_max_position_embeddings"}));
  BOOST_TEST(says(error_of(with(start + R"("short_factor":[1,1,1,1,1,1,1,1]})")),
                  errc::corrupt,
                  {"key=rope_scaling.long_factor", "list of 8 numbers"}));
  BOOST_TEST(says(error_of(with(start + R"("short_factor":[1,2],"long_factor":[1,2]})")),
                  errc::corrupt,
                  {"key=rope_scaling.short_factor", "list of 8 numbers"}));
  BOOST_TEST(says(error_of(with(start + R"("short_factor":[1,1,1,"1",1,1,1,1]})")),
                  errc::corrupt,
                  {"key=rope_scaling.short_factor", "list of numbers"}));
}

BOOST_AUTO_TEST_CASE(rope_scaling_that_we_cannot_run_is_refused_by_name) {
  for (const char* kind : {"dynamic", "yarn", "mrope"}) {
    BOOST_TEST(says(
        refused(llama, {{"rope_scaling", R"({"factor":2,"type":")" + std::string(kind) + "\"}"}}),
        errc::unsupported,
        {"key=rope_scaling.type", kind, "legal=default linear llama3 longrope"}));
  }
  BOOST_TEST(says(refused(llama, {{"rope_scaling", R"({"rope_type":"linear"})"}}),
                  errc::corrupt,
                  {"key=rope_scaling.factor", "unset"}));
  BOOST_TEST(says(refused(llama, {{"rope_scaling", R"({"rope_type":"llama3","factor":8})"}}),
                  errc::corrupt,
                  {"key=rope_scaling.low_freq_factor"}));
  BOOST_TEST(
      says(refused(llama,
                   {{"rope_scaling",
                     R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,)"
                     R"("original_max_position_embeddings":8192})"}}),
           errc::corrupt,
           {"key=rope_scaling.high_freq_factor", "above low_freq_factor"}));
  BOOST_TEST(
      says(refused(llama, {{"rope_scaling", "8"}}), errc::corrupt, {"key=rope_scaling", "object"}));
}

BOOST_AUTO_TEST_CASE(an_unsupported_architecture_is_named_beside_the_supported_ones) {
  BOOST_TEST(
      says(refused(llama, {{"architectures", R"(["MixtralForCausalLM"])"}}),
           errc::unsupported,
           {"config.json", "MixtralForCausalLM", "legal=llama gpt2 mistral qwen2 qwen3 phi3 opt"}));
  // The same body with another head is another architecture.
  BOOST_TEST(says(refused(llama, {{"architectures", R"(["LlamaForSequenceClassification"])"}}),
                  errc::unsupported,
                  {"LlamaForSequenceClassification"}));
  BOOST_TEST(parsed(llama, {{"architectures", ""}})->architecture == "llama");
  BOOST_TEST(says(refused(llama, {{"architectures", ""}, {"model_type", ""}}),
                  errc::corrupt,
                  {"architectures"}));
  BOOST_TEST(says(refused(llama, {{"architectures", R"("LlamaForCausalLM")"}}),
                  errc::corrupt,
                  {"list of strings"}));
}

BOOST_AUTO_TEST_CASE(a_quantised_checkpoint_is_refused_by_its_method) {
  BOOST_TEST(says(refused(llama, {{"quantization_config", R"({"quant_method":"fp8"})"}}),
                  errc::unsupported,
                  {"key=quantization_config.quant_method", "fp8", "quantised"}));
  BOOST_TEST(
      says(refused(llama, {{"quantization_config", "{}"}}), errc::unsupported, {"quantised"}));
  BOOST_TEST(parsed(llama, {{"quantization_config", "null"}}).has_value());
}

BOOST_AUTO_TEST_CASE(every_size_is_required_typed_and_bounded) {
  for (const char* key : {"hidden_size",
                          "num_hidden_layers",
                          "num_attention_heads",
                          "intermediate_size",
                          "vocab_size",
                          "max_position_embeddings"}) {
    for (const char* value : {"0",
                              "-1",
                              "1000000000000",
                              "18446744073709551615",
                              "1.5",
                              "64.0",
                              "\"64\"",
                              "true",
                              "[64]",
                              "{}"}) {
      BOOST_TEST(says(refused(llama, {{key, value}}),
                      errc::corrupt,
                      {"config.json", key, "legal=integer from 1"}));
    }
    BOOST_TEST(says(refused(llama, {{key, ""}}), errc::corrupt, {"missing key", key}));
    BOOST_TEST(says(refused(llama, {{key, "null"}}), errc::corrupt, {"missing key", key}));
  }
  for (const char* key : {"n_embd", "n_layer", "n_head", "n_positions", "vocab_size"}) {
    BOOST_TEST(says(refused(gpt2, {{key, "0"}}), errc::corrupt, {key}));
    BOOST_TEST(says(refused(gpt2, {{key, ""}}), errc::corrupt, {"missing key", key}));
  }
  for (const char* value : {"0", "-1e-5", "1", "\"1e-5\"", "1e999"}) {
    BOOST_TEST((refused(llama, {{"rms_norm_eps", value}}).code == errc::corrupt), value);
  }
  BOOST_TEST(says(refused(llama, {{"num_key_value_heads", "3"}}),
                  errc::corrupt,
                  {"divisor of num_attention_heads = 8"}));
  BOOST_TEST(says(refused(llama, {{"num_attention_heads", "7"}, {"num_key_value_heads", "7"}}),
                  errc::corrupt,
                  {"divisor of hidden_size = 64"}));
  BOOST_TEST(
      says(refused(llama, {{"head_dim", "7"}}), errc::corrupt, {"even part of head_dim = 7"}));
  BOOST_TEST(says(
      refused(llama, {{"head_dim", "1000000"}}), errc::corrupt, {"key=head_dim", "all heads"}));
  BOOST_TEST(
      says(refused(llama, {{"tie_word_embeddings", "1"}}), errc::corrupt, {"true or false"}));
}

BOOST_AUTO_TEST_CASE(a_file_that_is_no_object_is_corrupt) {
  for (const char* text : {"", "[]", "7", "{", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "\xFF\xFE"}) {
    BOOST_TEST(says(error_of(parse_model_config(text, "config.json", supported)),
                    errc::corrupt,
                    {"config.json"}));
  }
  BOOST_TEST(says(error_of(read_model_config("/nowhere", supported)),
                  errc::not_found,
                  {"/nowhere/config.json"}));
}

BOOST_AUTO_TEST_CASE(damaged_text_never_does_more_than_fail) {
  std::mt19937 random(77);
  const std::string good =
      text_of(llama, {{"rope_scaling", R"({"rope_type":"linear","factor":2})"}});
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text = good;
    for (int i = 0; i < 2; ++i) {
      const std::size_t at = random() % text.size();
      random() % 2 == 0 ? text[at] = static_cast<char>(random())
                        : text[at] = "0123456789-.e\"{}[],:"[random() % 20];
    }
    const auto config = parse_model_config(text, "config.json", supported);
    accepted += config.has_value() ? 1 : 0;
    if (config) {
      BOOST_TEST_REQUIRE(config->layers > 0);
      BOOST_TEST_REQUIRE(config->heads % config->kv_heads == 0);
      BOOST_TEST_REQUIRE(config->rope->rotary_dim <= config->head_dim);
    } else {
      BOOST_TEST_REQUIRE(
          (config.error().code == errc::corrupt || config.error().code == errc::unsupported));
    }
  }
  BOOST_TEST(accepted > 0);
}

BOOST_AUTO_TEST_CASE(every_real_file_is_read_or_refused_for_its_reason,
                     *vdist::testing::needs_test_data()) {
  const auto configs = *vdist::testing::test_data_dir() / "configs";

  // Read: layers, hidden, head_dim, kv_heads. Refused: code and a part of the text.
  struct expected_facts {
    std::int32_t layers, hidden, head_dim, kv_heads;
  };

  const std::map<std::string, expected_facts> read{
      {"Llama-2-7b-hf", {32, 4096, 128, 32}},
      {"Llama-3.1-405B-Instruct", {126, 16384, 128, 8}},
      {"Llama-3.1-70B", {80, 8192, 128, 8}},
      {"Llama-3.1-70B-Instruct", {80, 8192, 128, 8}},
      {"Llama-3.1-8B", {32, 4096, 128, 8}},
      {"Llama-3.1-8B-Instruct", {32, 4096, 128, 8}},
      {"Llama-3.2-1B-Instruct", {16, 2048, 64, 8}},
      {"Reflection-Llama-3.1-70B", {80, 8192, 128, 8}},
      {"Mistral-7B-Instruct-v0.3", {32, 4096, 128, 8}},
      {"Phi-3-mini", {32, 3072, 96, 32}},
      {"Qwen2-0.5B-Instruct", {24, 896, 64, 2}},
      {"Qwen2.5-7B-Instruct", {28, 3584, 128, 4}},
      {"Qwen3-32B", {64, 5120, 128, 8}},
      {"Qwen3-8B", {36, 4096, 128, 8}},
      {"gpt2", {12, 768, 64, 12}},
      {"opt-125m", {12, 768, 64, 12}},
      {"opt-13b", {40, 5120, 128, 40}},
      {"opt-350m", {24, 1024, 64, 16}},
  };
  const std::map<std::string, std::string> refused_for{
      {"Llama-3.1-405B-Instruct-FP8", "fbgemm_fp8"},
      {"Meta-Llama-3-8B-Instruct-FP8", "quant_method"},
  };
  int refused_architectures = 0;
  for (const auto& entry : std::filesystem::directory_iterator(configs)) {
    if (!std::filesystem::exists(entry.path() / "config.json")) {
      continue;
    }
    const std::string name = entry.path().filename().string();
    const auto config = read_model_config(entry.path(), supported);
    if (const auto facts = read.find(name); facts != read.end()) {
      BOOST_REQUIRE_MESSAGE(config.has_value(), name << ": " << error_of(config).context);
      BOOST_TEST(config->layers == facts->second.layers, name);
      BOOST_TEST(config->hidden == facts->second.hidden, name);
      BOOST_TEST(config->head_dim == facts->second.head_dim, name);
      BOOST_TEST(config->kv_heads == facts->second.kv_heads, name);
    } else if (const auto reason = refused_for.find(name); reason != refused_for.end()) {
      BOOST_TEST(says(error_of(config), errc::unsupported, {name, "quantised", reason->second}));
    } else {
      BOOST_TEST(says(error_of(config),
                      errc::unsupported,
                      {name, "unsupported architecture", "llama gpt2 mistral"}));
      ++refused_architectures;
    }
  }
  BOOST_TEST_MESSAGE("refused " << refused_architectures << " architectures");
  BOOST_TEST(refused_architectures > 5);

  const auto llama31 = read_model_config(configs / "Llama-3.1-8B-Instruct", supported);
  BOOST_TEST((llama31->rope->scaling == rope_scaling_kind::llama3));
  BOOST_TEST(llama31->rope->theta == 500000.0);
  BOOST_TEST(llama31->vocabulary == 128256);
  BOOST_TEST(llama31->eos == std::vector<token_id>({128001, 128008, 128009}));
  BOOST_TEST(read_model_config(configs / "Llama-3.2-1B-Instruct", supported)->tie_word_embeddings);
}
