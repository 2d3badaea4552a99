// Every published config.json of the test data: run, with the right plans and memory, or refused by
// name. The oracle is published_configs.hpp, which counts from the file's keys alone.
#include "tests/model/arch/published_configs.hpp"
#include "tests/support/test_data.hpp"

#include "model/arch/registry.hpp"
#include "model/exec/memory_plan.hpp"

#include "runtime/topology/layout.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace vdist {

namespace {

using nlohmann::json;
using testing::model_elements;

/// Calls `check` with name, parsed file and what the product makes of it.
void for_every_config(
    const std::function<
        void(const std::string&, const json&, const result<weights::model_config>&)>& check) {
  std::size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(*testing::test_data_dir() / "configs")) {
    if (std::filesystem::exists(entry.path() / "config.json")) {
      const auto name = entry.path().filename().string();
      BOOST_TEST_CONTEXT(name) {
        check(name,
              testing::read_json_file(entry.path() / "config.json"),
              weights::read_model_config(entry.path(), arch::supported_architectures()));
      }
      ++count;
    }
  }
  BOOST_TEST(count > 20U);
}

/// Like for_every_config, for what must run only.
void for_every_model(
    const std::function<
        void(const std::string&, const model_elements&, const weights::model_config&)>& check) {
  for_every_config([&check](const auto& name, const json& file, const auto& read) {
    if (testing::is_claimed(testing::class_of(file)) && !file.contains("quantization_config")) {
      BOOST_REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().context));
      check(name, testing::count_elements(file), *read);
    }
  });
}

topology::cluster_layout
layout_of(const weights::model_config& model, std::int32_t tensor, std::int32_t stages) {
  auto made = topology::cluster_layout::make(
      {.sizes = {.pipeline = stages, .tensor = tensor}, .model = arch::facts_of(model)});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
  return std::move(*made);
}

/// The networks of all ranks.
std::vector<arch::network>
networks_of(const weights::model_config& model, std::int32_t tensor, std::int32_t stages) {
  const auto layout = layout_of(model, tensor, stages);
  std::vector<arch::network> made;
  for (std::int32_t rank = 0; rank < layout.world(); ++rank) {
    auto one = arch::build(model, layout.shard_of(rank_id(rank)), kernels::dtype::bfloat16);
    BOOST_REQUIRE_MESSAGE(one.has_value(), (one ? "" : one.error().context));
    made.push_back(std::move(*one));
  }
  return made;
}

/// Elements of the checkpoint that a plan reads, padding not counted.
std::int64_t elements(const weights::weight_plan& plan) {
  std::int64_t count = 0;
  for (const auto& weight : plan.weights) {
    for (const auto& slice : weight.slices) {
      count += slice.rows.count * slice.columns.count;
    }
  }
  return count;
}

struct split {
  std::int32_t tensor;
  std::int32_t stages;
};

/// One rank, stages, tensor ranks, both; more ranks than KV heads where the model allows it.
std::vector<split> splits_of(const weights::model_config& model) {
  const auto legal = topology::legal_tensor_sizes(arch::facts_of(model));
  const auto some = legal.size() > 1 ? legal[1] : 1;
  return {{1, 1}, {1, 2}, {some, 1}, {some, 2}, {legal.back(), 2}};
}

} // namespace

BOOST_AUTO_TEST_SUITE(configs)

BOOST_AUTO_TEST_CASE(every_config_is_run_or_refused_by_name, *testing::needs_test_data()) {
  std::set<std::string> run;
  for_every_config([&run](const auto& name, const json& file, const auto& read) {
    const auto class_name = testing::class_of(file);
    const bool is_quantised = file.contains("quantization_config");
    if (testing::is_claimed(class_name) && !is_quantised) {
      BOOST_TEST(read.has_value(), (read ? "" : read.error().context));
      run.insert(class_name);
      return;
    }
    BOOST_REQUIRE(!read);
    BOOST_TEST((read.error().code == errc::unsupported));
    const auto& text = read.error().context;
    BOOST_TEST(text.find(name) != std::string::npos);
    if (testing::is_claimed(class_name)) {
      BOOST_TEST(text.find("quantised") != std::string::npos);
      return;
    }
    BOOST_TEST(text.find(class_name) != std::string::npos);
    for (const auto known : arch::supported_architectures()) {
      BOOST_TEST(text.find(known) != std::string::npos);
    }
  });
  BOOST_TEST(run.size() == arch::supported_architectures().size()); // the data has one of each
}

BOOST_AUTO_TEST_CASE(models_have_the_parameters_that_transformers_counts,
                     *testing::needs_test_data()) {
  // sum(p.numel()) of the class on the meta device, transformers 5.24.0.
  const std::map<std::string, std::int64_t> counted{
      {"Llama-2-7b-hf", 6'738'415'616},
      {"Llama-3.1-405B-Instruct", 405'853'388'800},
      {"Llama-3.1-70B", 70'553'706'496},
      {"Llama-3.1-70B-Instruct", 70'553'706'496},
      {"Llama-3.1-8B", 8'030'261'248},
      {"Llama-3.1-8B-Instruct", 8'030'261'248},
      {"Llama-3.2-1B-Instruct", 1'235'814'400},
      {"Mistral-7B-Instruct-v0.3", 7'248'023'552},
      {"Phi-3-mini", 3'821'079'552},
      {"Qwen2-0.5B-Instruct", 494'032'768},
      {"Qwen2.5-7B-Instruct", 7'615'616'512},
      {"Qwen3-32B", 32'762'123'264},
      {"Qwen3-8B", 8'190'735'360},
      {"Reflection-Llama-3.1-70B", 70'553'804'800},
      {"gpt2", 124'439'808},
      {"opt-125m", 125'239'296},
      {"opt-13b", 12'853'473'280},
      {"opt-350m", 331'196'416},
  };
  std::size_t found = 0;
  for_every_model([&](const auto& name, const model_elements& expected, const auto& model) {
    BOOST_TEST(elements(networks_of(model, 1, 1).front().plan) == expected.total());
    if (const auto known = counted.find(name); known != counted.end()) {
      BOOST_TEST(expected.total() == known->second);
      ++found;
    }
  });
  BOOST_TEST(found == counted.size());
}

BOOST_AUTO_TEST_CASE(ranks_share_and_copy_the_elements_that_they_should,
                     *testing::needs_test_data()) {
  for_every_model([](const auto&, const model_elements& expected, const auto& model) {
    for (const auto& [tensor, stages] : splits_of(model)) {
      std::int64_t sum = 0;
      for (const auto& network : networks_of(model, tensor, stages)) {
        sum += elements(network.plan);
      }
      BOOST_TEST_INFO("tensor " << tensor << " stages " << stages);
      BOOST_TEST(sum == expected.over_ranks(tensor, stages));
    }
  });
}

BOOST_AUTO_TEST_CASE(a_token_costs_the_kv_bytes_of_a_ranks_heads_and_layers,
                     *testing::needs_test_data()) {
  for_every_model([](const auto&, const model_elements& expected, const auto& model) {
    for (const auto& [tensor, stages] : splits_of(model)) {
      const auto heads = std::max<std::int64_t>(1, expected.kv_heads / tensor);
      std::int64_t layers = 0;
      for (const auto& network : networks_of(model, tensor, stages)) {
        const auto held = static_cast<std::int64_t>(network.decoder.layers.size());
        const auto bytes = 2 * held * heads * expected.head_dim * 2; // K and V, bfloat16
        BOOST_TEST(static_cast<std::int64_t>(exec::kv_bytes_per_block(network, 16)) == 16 * bytes);
        layers += held;
      }
      BOOST_TEST(layers == expected.layers * tensor);
    }
  });
}

// W-1: nothing but padding of the vocabulary and of the weights' starts comes on top.
BOOST_AUTO_TEST_CASE(weights_take_two_bytes_an_element_and_vectors_four,
                     *testing::needs_test_data()) {
  for_every_model([](const auto&, const model_elements& expected, const auto& model) {
    const auto network = std::move(networks_of(model, 1, 1).front());
    std::int64_t vectors = 0;
    std::int64_t padding = 0;
    for (const auto& weight : network.plan.weights) {
      vectors += weight.type == kernels::dtype::float32 ? weight.shape.rows : 0;
      padding += weight.padding_rows * weight.shape.width();
    }
    const exec::runner_limits limits{
        .max_batch_tokens = 64, .max_sequences = 4, .max_positions = 64, .blocks = 4};
    const auto exact = 2 * (expected.total() + padding) + 2 * vectors;
    const auto bytes = static_cast<std::int64_t>(exec::memory_of(network, limits, {}).weights);
    const auto starts = static_cast<std::int64_t>(network.plan.weights.size())
                        * static_cast<std::int64_t>(weights::weight_alignment);
    BOOST_TEST(bytes >= exact);
    BOOST_TEST(bytes < exact + starts);
  });
}

BOOST_AUTO_TEST_CASE(real_files_set_windows_and_scalings_as_published,
                     *testing::needs_test_data()) {
  std::map<std::string, weights::model_config> models;
  for_every_model(
      [&models](const auto& name, const auto&, const auto& model) { models.emplace(name, model); });
  BOOST_TEST(models.at("Mistral-7B-Instruct-v0.3").window_of(0) == 0); // null
  BOOST_TEST(models.at("Qwen2.5-7B-Instruct").window_of(27) == 0);     // a size, but not in use
  BOOST_TEST(models.at("Qwen3-8B").head_dim == 128);
  BOOST_TEST(models.at("Phi-3-mini").window_of(31) == 262144);
  const auto& rope = *models.at("Phi-3-mini").rope;
  BOOST_TEST((rope.scaling == weights::rope_scaling_kind::longrope));
  BOOST_TEST(rope.short_factors.size() == 48U);
  BOOST_TEST(rope.long_factors.back() == 64.76000213623047);
  BOOST_TEST(rope.amplitude == std::sqrt(1 + std::log(32.0) / std::log(4096.0)));
  BOOST_TEST((models.at("opt-350m").norms == weights::norm_placement::after));
  BOOST_TEST(models.at("opt-350m").embedding_width == 512);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
