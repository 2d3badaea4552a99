#include "model/arch/registry.hpp"

#include "tests/support/test_data.hpp"

#include "model/exec/memory_plan.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <map>
#include <string>

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

/// Elements of the checkpoint that the plan reads, padding not counted.
std::int64_t elements(const weights::weight_plan& plan) {
  std::int64_t count = 0;
  for (const auto& weight : plan.weights) {
    for (const auto& slice : weight.slices) {
      count += slice.rows.count * slice.columns.count;
    }
  }
  return count;
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

BOOST_AUTO_TEST_CASE(published_models_have_their_published_sizes, *testing::needs_test_data()) {
  const std::map<std::string, std::int64_t> parameters = {{"Llama-2-7b-hf", 6'738'415'616},
                                                          {"Llama-3.1-8B", 8'030'261'248},
                                                          {"Llama-3.2-1B-Instruct", 1'235'814'400},
                                                          {"Llama-3.1-70B", 70'553'706'496},
                                                          {"gpt2", 124'439'808}};
  for (const auto& [name, count] : parameters) {
    const auto folder = *testing::test_data_dir() / "configs" / name;
    auto config = weights::read_model_config(folder, arch::supported_architectures());
    BOOST_REQUIRE_MESSAGE(config.has_value(), name);
    const auto all =
        *arch::build(*config, shard_of(0, 1, 0, 1, {0, config->layers}), kernels::dtype::bfloat16);
    BOOST_TEST_INFO(name);
    BOOST_TEST(elements(all.plan) == count);
  }
}

BOOST_AUTO_TEST_CASE(tensor_ranks_share_the_weights_of_a_large_model, *testing::needs_test_data()) {
  const auto model = read("Llama-3.1-8B");
  std::int64_t sum = 0;
  for (std::int32_t rank = 0; rank < 8; ++rank) {
    const auto part =
        *arch::build(model, shard_of(rank, 8, 0, 1, {0, model.layers}), kernels::dtype::bfloat16);
    sum += elements(part.plan);
  }
  const std::int64_t norms = (2 * 32 + 1) * std::int64_t{4096};
  BOOST_TEST(sum == 8'030'261'248 + 7 * norms);
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
  BOOST_TEST(exec::memory_of(whole, limits, 1).weights == whole.plan.bytes);
  BOOST_TEST(exec::needs_of(whole, limits).max_features == 14336);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
