#include "model/arch/registry.hpp"

#include "tests/support/test_data.hpp"

#include "model/exec/memory_plan.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace vdist {

namespace {

weights::model_config read(const std::string& name) {
  const auto golden =
      std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / name;
  const auto folder =
      std::filesystem::is_directory(golden) ? golden : *testing::test_data_dir() / "configs" / name;
  auto config = weights::read_model_config(folder, arch::supported_architectures());
  BOOST_REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error().context));
  return *config;
}

topology::shard shard_of(std::int32_t rank,
                         std::int32_t size,
                         std::int32_t stage,
                         std::int32_t stages,
                         topology::layer_range layers) {
  return {
      .tensor_rank = rank, .tensor_size = size, .stage = stage, .stages = stages, .layers = layers};
}

/// Names of the tensors in a checkpoint's only file.
std::set<std::string> stored_names(const std::filesystem::path& folder) {
  std::ifstream in(folder / "model.safetensors", std::ios::binary);
  std::uint64_t bytes = 0;
  in.read(reinterpret_cast<char*>(&bytes), sizeof(bytes));
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  BOOST_REQUIRE_MESSAGE(in, "cannot read " << folder);
  std::set<std::string> names;
  const auto header = nlohmann::json::parse(text);
  for (const auto& [name, tensor] : header.items()) {
    names.insert(name);
  }
  names.erase("__metadata__");
  return names;
}

} // namespace

BOOST_AUTO_TEST_SUITE(registry)

BOOST_AUTO_TEST_CASE(an_unknown_architecture_is_refused_with_the_list_of_known_ones) {
  auto model = read("gpt2");
  model.architecture = "mamba";
  const auto made =
      arch::build(model, shard_of(0, 1, 0, 1, {0, model.layers}), kernels::dtype::float32);
  BOOST_REQUIRE(!made);
  BOOST_TEST((made.error().code == errc::unsupported));
  BOOST_TEST(made.error().context.find("mamba") != std::string::npos);
  for (const auto name : arch::supported_architectures()) {
    BOOST_TEST(made.error().context.find(name) != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(an_illegal_tensor_size_is_refused_with_the_legal_ones) {
  const auto model = read("llama3_gqa");
  const auto made =
      arch::build(model, shard_of(0, 3, 0, 1, {0, model.layers}), kernels::dtype::float32);
  BOOST_REQUIRE(!made);
  BOOST_TEST((made.error().code == errc::bad_configuration));
  BOOST_TEST(made.error().context.find("legal=1,2,4,8") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(layers_outside_the_model_are_refused) {
  const auto model = read("llama3_gqa");
  BOOST_TEST(
      !arch::build(model, shard_of(0, 1, 0, 1, {0, model.layers + 1}), kernels::dtype::float32));
  BOOST_TEST(!arch::build(model, shard_of(2, 2, 0, 1, {0, model.layers}), kernels::dtype::float32));
}

BOOST_AUTO_TEST_CASE(stages_hold_their_layers_and_the_ends_hold_embedding_and_head) {
  const auto model = read("llama2_mha");
  const auto first = *arch::build(model, shard_of(0, 1, 0, 3, {0, 1}), kernels::dtype::bfloat16);
  const auto middle = *arch::build(model, shard_of(0, 1, 1, 3, {1, 3}), kernels::dtype::bfloat16);
  const auto last = *arch::build(model, shard_of(0, 1, 2, 3, {3, 4}), kernels::dtype::bfloat16);
  BOOST_TEST((first.decoder.embedding.has_value() && !first.decoder.head.has_value()));
  BOOST_TEST((!middle.decoder.embedding.has_value() && !middle.decoder.head.has_value()));
  BOOST_TEST((!last.decoder.embedding.has_value() && last.decoder.head.has_value()));
  BOOST_TEST(middle.decoder.layers.size() == 2U);
  BOOST_TEST(middle.plan.find("layers.1.attention.qkv") != nullptr);
  BOOST_TEST(middle.plan.find("layers.0.attention.qkv") == nullptr);
}

BOOST_AUTO_TEST_CASE(tied_tables_are_held_once_where_both_ends_are_one_rank) {
  const auto model = read("llama32_tied");
  const auto alone = *arch::build(model, shard_of(0, 1, 0, 1, {0, 2}), kernels::dtype::float32);
  BOOST_TEST(alone.decoder.head->project.weight == alone.decoder.embedding->table);
  const auto last = *arch::build(model, shard_of(0, 1, 1, 2, {1, 2}), kernels::dtype::float32);
  const auto* table = last.plan.find("lm_head");
  BOOST_REQUIRE(table != nullptr);
  BOOST_TEST(table->slices.front().tensor.names.front() == "model.embed_tokens.weight");
}

// The recorded models were written by transformers' save_pretrained: their names are the published
// ones.
BOOST_AUTO_TEST_CASE(a_plan_names_every_tensor_that_transformers_writes) {
  std::set<std::string> architectures;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models")) {
    if (!entry.is_directory()) {
      continue;
    }
    const auto model = read(entry.path().filename().string());
    architectures.insert(model.architecture);
    const auto stored = stored_names(entry.path());
    const auto all =
        *arch::build(model, shard_of(0, 1, 0, 1, {0, model.layers}), kernels::dtype::float32);
    std::set<std::string> planned;
    for (const auto& weight : all.plan.weights) {
      for (const auto& slice : weight.slices) {
        for (const auto& name : slice.tensor.names) {
          if (stored.contains(name)) {
            planned.insert(name);
            break;
          }
        }
      }
    }
    BOOST_TEST_INFO(entry.path());
    BOOST_TEST(planned == stored, boost::test_tools::per_element());
  }
  BOOST_TEST(architectures.size() == arch::supported_architectures().size());
}

BOOST_AUTO_TEST_CASE(parts_of_fused_projections_are_rows_of_one_tensor) {
  const auto model = read("phi3_short"); // 4 heads and 2 KV heads of 8, 48 columns
  const auto part = *arch::build(model, shard_of(1, 2, 0, 1, {0, 2}), kernels::dtype::float32);
  const auto& qkv = part.plan.find("layers.1.attention.qkv")->slices;
  const std::int64_t first_rows[] = {16, 32 + 8, 32 + 16 + 8};
  BOOST_TEST_REQUIRE(qkv.size() == 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    BOOST_TEST(qkv[i].tensor.names.front() == "model.layers.1.self_attn.qkv_proj.weight");
    BOOST_TEST(qkv[i].tensor.shape.rows == 64);
    BOOST_TEST(qkv[i].rows.first == first_rows[i]);
  }
  const auto& up = part.plan.find("layers.1.mlp.up")->slices;
  BOOST_TEST_REQUIRE(up.size() == 2U);
  BOOST_TEST(up[0].rows.first == 24);
  BOOST_TEST(up[1].rows.first == 48 + 24);
  BOOST_TEST(up[1].tensor.shape.rows == 96);
}

BOOST_AUTO_TEST_CASE(every_layer_has_the_window_of_its_own) {
  const auto windows = [](const char* name, topology::layer_range layers) {
    const auto model = read(name);
    const auto made = *arch::build(model, shard_of(0, 1, 0, 1, layers), kernels::dtype::float32);
    std::vector<std::int32_t> found;
    for (const auto& layer : made.decoder.layers) {
      found.push_back(layer.attend.window);
    }
    return found;
  };
  BOOST_TEST(windows("mistral_window", {0, 2}) == std::vector<std::int32_t>({8, 8}));
  BOOST_TEST(windows("qwen2_window", {0, 3}) == std::vector<std::int32_t>({0, 8, 8}));
  BOOST_TEST(windows("qwen2_window", {1, 3}) == std::vector<std::int32_t>({8, 8}));
  BOOST_TEST(windows("qwen2_tied", {0, 2}) == std::vector<std::int32_t>({0, 0}));
}

BOOST_AUTO_TEST_CASE(a_narrow_token_table_has_a_linear_at_either_end) {
  const auto model = read("opt_post_norm"); // 16 of 32
  for (const std::int32_t rank : {0, 1}) {
    const auto first =
        *arch::build(model, shard_of(rank, 2, 0, 2, {0, 1}), kernels::dtype::float32);
    const auto last = *arch::build(model, shard_of(rank, 2, 1, 2, {1, 2}), kernels::dtype::float32);
    BOOST_TEST(first.decoder.embedding->width == 16);
    BOOST_TEST_REQUIRE(first.decoder.widen.has_value());
    BOOST_TEST(first.decoder.widen->out_features == 32);
    BOOST_TEST(!last.decoder.head->final_norm.has_value());
    BOOST_TEST_REQUIRE(last.decoder.head->narrow.has_value());
    BOOST_TEST(last.decoder.head->narrow->out_features == 16);
    BOOST_TEST(last.decoder.head->project.in_features == 16);
  }
  const auto plain = read("opt");
  const auto all = *arch::build(plain, shard_of(0, 1, 0, 1, {0, 2}), kernels::dtype::float32);
  BOOST_TEST(!all.decoder.widen.has_value());
  BOOST_TEST(!all.decoder.head->narrow.has_value());
  BOOST_TEST(all.decoder.head->final_norm.has_value());
}

BOOST_AUTO_TEST_CASE(kv_blocks_cost_what_heads_and_layers_say, *testing::needs_test_data()) {
  const auto model = read("Llama-3.1-8B");
  const auto whole = *arch::build(model, shard_of(0, 1, 0, 1, {0, 32}), kernels::dtype::bfloat16);
  // 32 layers * 8 KV heads * 128 * (K and V) * 2 bytes = 128 KiB per token.
  BOOST_TEST(exec::kv_bytes_per_block(whole, 16) == 16U * 128 * 1024);
  const auto replicated =
      *arch::build(model, shard_of(3, 16, 1, 2, {16, 32}), kernels::dtype::bfloat16);
  BOOST_TEST(exec::kv_bytes_per_block(replicated, 16)
             == 16U * 128 * 1024 / 8 / 2); // one head of eight, half the layers
  const exec::runner_limits limits{.max_batch_tokens = 512,
                                   .max_sequences = 32,
                                   .max_positions = 4096,
                                   .blocks = 100,
                                   .block_size = 16};
  BOOST_TEST(exec::kv_bytes(whole, limits) == 100U * 16 * 128 * 1024);
  BOOST_TEST(exec::memory_of(whole, limits, {}).weights == whole.plan.bytes);
  BOOST_TEST(exec::needs_of(whole, limits).max_features == 14336);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
