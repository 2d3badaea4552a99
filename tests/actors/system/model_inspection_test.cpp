// A description of the model and its shards that a program can rely on: it covers the checkpoint, and the cuts fit.
#include "actors/system/model_inspection.hpp"

#include "tests/support/engine_driver.hpp"

#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::actors;

namespace {

model_description describe(const std::string& toml, const std::vector<std::string>& overrides) {
  const auto config = config::parse(toml, "test.toml", overrides);
  BOOST_REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error().context));
  const auto setup = set_up_model(
      *config, config::read_environment(), [](std::string_view, const std::string&) {});
  BOOST_REQUIRE_MESSAGE(setup.has_value(), (setup ? "" : setup.error().context));
  auto described = describe_model(*setup);
  BOOST_REQUIRE_MESSAGE(described.has_value(), (described ? "" : described.error().context));
  return std::move(*described);
}

const parameter_description& parameter_of(const model_description& model, const std::string& name) {
  const auto found = std::find_if(model.parameters.begin(),
                                  model.parameters.end(),
                                  [&name](const auto& one) { return one.name == name; });
  BOOST_REQUIRE_MESSAGE(found != model.parameters.end(), "no parameter " << name);
  return *found;
}

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(
      shape.begin(), shape.end(), std::int64_t{1}, [](auto a, auto b) { return a * b; });
}

/// Elements of a parameter that the ranks below `ranks` hold, each counted once.
std::int64_t covered(const parameter_description& of, std::int32_t ranks) {
  std::vector<bool> is_held(static_cast<std::size_t>(elements_of(of.shape)));
  const auto width = of.shape.size() == 2 ? of.shape[1] : 1;
  for (const auto& shard : of.shards) {
    const auto first_row = shard.axis == 0 ? shard.offset : 0;
    const auto first_column = shard.axis == 1 ? shard.offset : 0;
    for (std::int64_t row = 0; shard.rank < ranks && row < shard.shape[0]; ++row) {
      for (std::int64_t column = 0; column < (shard.shape.size() == 2 ? shard.shape[1] : 1);
           ++column) {
        is_held.at(static_cast<std::size_t>((first_row + row) * width + first_column + column)) =
            true;
      }
    }
  }
  return std::count(is_held.begin(), is_held.end(), true);
}

} // namespace

BOOST_AUTO_TEST_SUITE(a_model_description)

BOOST_AUTO_TEST_CASE(says_what_the_model_is_and_where_its_layers_are) {
  const auto model = describe(testing::tiny_tales_config(),
                              {"parallel.tensor=2",
                               "parallel.pipeline=2",
                               "parallel.pipeline_layers=[3,5]",
                               "parallel.data=2"});
  BOOST_TEST(model.architecture == "llama");
  BOOST_TEST(model.dtype == "bfloat16");
  BOOST_TEST(model.hidden == 256);
  BOOST_TEST(model.heads == 8);
  BOOST_TEST(model.kv_heads == 4);
  BOOST_TEST(model.head_dim == 32);
  BOOST_TEST(model.intermediate == 768);
  BOOST_TEST(model.vocabulary == 6144);
  BOOST_TEST(model.max_model_len == 192);
  BOOST_REQUIRE(model.layers.size() == 8U);
  for (const auto& layer : model.layers) {
    const bool is_first = layer.layer < 3;
    BOOST_TEST(layer.stage == (is_first ? 0 : 1));
    const std::vector<std::int32_t> expected =
        is_first ? std::vector<std::int32_t>{0, 1, 4, 5} : std::vector<std::int32_t>{2, 3, 6, 7};
    BOOST_TEST(layer.ranks == expected, boost::test_tools::per_element());
  }
  BOOST_REQUIRE(model.ranks.size() == 8U);
  BOOST_TEST(model.ranks[7].replica == 1);
  BOOST_TEST(model.ranks[7].stage == 1);
  BOOST_TEST(model.ranks[7].tensor == 1);
  BOOST_TEST((model.ranks[7].layers == described_range{3, 8}));
}

BOOST_AUTO_TEST_CASE(cuts_every_parameter_along_one_axis_and_loses_nothing) { // M-1, M-2
  const auto model =
      describe(testing::tiny_tales_config(), {"parallel.tensor=2", "parallel.pipeline=2"});
  BOOST_TEST(model.parameters.size() == 2U + 8U * 9U, "embedding, final norm, layers");
  for (const auto& parameter : model.parameters) {
    BOOST_TEST(covered(parameter, 4) == elements_of(parameter.shape), parameter.name);
    BOOST_TEST(parameter.bytes
               == static_cast<std::size_t>(elements_of(parameter.shape))
                      * (parameter.dtype == "float32" ? 4U : 2U));
  }
  const auto& query = parameter_of(model, "model.layers.5.self_attn.q_proj.weight");
  BOOST_TEST(query.layer == 5);
  BOOST_TEST(query.shape == (std::vector<std::int64_t>{256, 256}),
             boost::test_tools::per_element());
  BOOST_REQUIRE(query.shards.size() == 2U);
  BOOST_TEST(query.shards[1].rank == 3);
  BOOST_TEST(query.shards[1].weight == "layers.5.attention.qkv");
  BOOST_TEST(query.shards[1].axis == 0);
  BOOST_TEST(query.shards[1].offset == 128);
  BOOST_TEST(query.shards[1].shape == (std::vector<std::int64_t>{128, 256}),
             boost::test_tools::per_element());
  const auto& down = parameter_of(model, "model.layers.0.mlp.down_proj.weight");
  BOOST_REQUIRE(down.shards.size() == 2U);
  BOOST_TEST(down.shards[1].axis == 1);
  BOOST_TEST(down.shards[1].offset == 384);
  const auto& norm = parameter_of(model, "model.norm.weight");
  BOOST_TEST(norm.layer == -1);
  BOOST_TEST(norm.dtype == "float32");
  BOOST_TEST(norm.shards.front().axis == whole_axis);
  const auto& embedding = parameter_of(model, "model.embed_tokens.weight");
  BOOST_TEST(embedding.shards.size() == 4U, "the last stage has the tied head");
}

BOOST_AUTO_TEST_CASE(of_a_simulated_model_has_no_parameters) {
  const auto model = describe(testing::sim_config(), {"parallel.pipeline=2"});
  BOOST_TEST(model.architecture == "sim");
  BOOST_TEST(model.layers.size() == 8U);
  BOOST_TEST(model.parameters.empty());
  BOOST_TEST(model.ranks.size() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
