#include "model/layers/declare.hpp"
#include "model/layers/linear.hpp"
#include "model/layers/rope.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace vdist {

namespace {

weights::model_config small_model() {
  weights::model_config model;
  model.architecture = "llama";
  model.layers = 1;
  model.hidden = 64;
  model.heads = 8;
  model.kv_heads = 2;
  model.head_dim = 8;
  model.intermediate = 96;
  model.vocabulary = 251;
  model.embedding_width = 64;
  model.max_positions = 128;
  return model;
}

layers::declaration
declaration_for(weights::weight_plan_builder& plan, std::int32_t rank, std::int32_t size) {
  return {.plan = plan,
          .place = {.tensor_rank = rank, .tensor_size = size, .layers = {0, 1}},
          .type = kernels::dtype::float32};
}

layers::linear_source source(std::string name, std::int64_t out, std::int64_t in) {
  return {.names = {std::move(name)}, .out_features = out, .in_features = in};
}

} // namespace

BOOST_AUTO_TEST_SUITE(layers_suite)

BOOST_AUTO_TEST_CASE(llama_3_1_frequencies_agree_with_transformers) {
  // inv_freq of transformers 5.23.0 (float32) for Llama 3.1: theta 500000, factor 8, low 1, high 4,
  // original 8192.
  const std::vector<std::pair<std::size_t, double>> expected = {{0, 1.0},
                                                                {1, 0.8146172165870667},
                                                                {20, 0.016560440883040428},
                                                                {28, 0.0032114461064338684},
                                                                {29, 0.0021665706299245358},
                                                                {30, 0.0013718936825171113},
                                                                {32, 0.0005248460220173001},
                                                                {34, 0.0001785077911335975},
                                                                {35, 9.556212171446532e-05},
                                                                {36, 7.784655463183299e-05},
                                                                {40, 3.428102354519069e-05},
                                                                {63, 3.068925877869333e-07}};
  const auto frequencies = layers::rope_frequencies({.theta = 500000.0,
                                                     .rotary_dim = 128,
                                                     .scaling = weights::rope_scaling_kind::llama3,
                                                     .factor = 8.0,
                                                     .low_freq_factor = 1.0,
                                                     .high_freq_factor = 4.0,
                                                     .original_max_positions = 8192},
                                                    131072);
  BOOST_TEST(frequencies.size() == 64U);
  for (const auto& [index, value] : expected) {
    BOOST_TEST(frequencies[index] == value, boost::test_tools::tolerance(2e-6));
  }
}

BOOST_AUTO_TEST_CASE(linear_scaling_divides_every_frequency) {
  weights::rope_config config{.theta = 10000.0, .rotary_dim = 16};
  const auto plain = layers::rope_frequencies(config, 64);
  config.scaling = weights::rope_scaling_kind::linear;
  config.factor = 4;
  const auto scaled = layers::rope_frequencies(config, 64);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    BOOST_TEST(scaled[i] == plain[i] / 4);
  }
}

BOOST_AUTO_TEST_CASE(a_rope_table_holds_the_angles_of_every_position) {
  const weights::rope_config config{.theta = 10000.0, .rotary_dim = 8};
  const auto table = layers::make_rope_table(config, 100);
  BOOST_TEST(table.cos.size() == 400U);
  for (std::size_t position = 0; position < 100; ++position) {
    for (std::size_t i = 0; i < 4; ++i) {
      const double angle =
          static_cast<double>(position) * std::pow(10000.0, -static_cast<double>(2 * i) / 8);
      BOOST_TEST(table.cos[position * 4 + i] == static_cast<float>(std::cos(angle)),
                 boost::test_tools::tolerance(1e-5F));
      BOOST_TEST(table.sin[position * 4 + i] == static_cast<float>(std::sin(angle)),
                 boost::test_tools::tolerance(1e-5F));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_rope_table_has_the_same_bits_from_any_number_of_threads) {
  const weights::rope_config config{.theta = 500000.0, .rotary_dim = 8};
  for (const std::int32_t positions : {1, 4096, 4097, 20001}) {
    const auto alone = layers::make_rope_table(config, positions);
    for (const std::int32_t threads : {2, 3, 16}) {
      const auto together = layers::make_rope_table(config, positions, threads);
      BOOST_TEST((together.cos == alone.cos), positions << " positions, " << threads << " threads");
      BOOST_TEST((together.sin == alone.sin), positions << " positions, " << threads << " threads");
    }
  }
}

// the longest sequence that the engine admits chooses the factors, for every sequence.
BOOST_AUTO_TEST_CASE(longrope_divides_each_frequency_by_the_factor_of_the_longest_sequence) {
  weights::rope_config config{.theta = 10000.0,
                              .rotary_dim = 8,
                              .scaling = weights::rope_scaling_kind::longrope,
                              .original_max_positions = 32,
                              .short_factors = {1, 1.25, 2, 2.5},
                              .long_factors = {2, 4, 8, 64},
                              .amplitude = 1.25};
  const auto plain = layers::rope_frequencies({.theta = 10000.0, .rotary_dim = 8}, 33);
  const auto short_ones = layers::rope_frequencies(config, 32);
  const auto long_ones = layers::rope_frequencies(config, 33);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    BOOST_TEST(short_ones[i] == plain[i] / config.short_factors[i]);
    BOOST_TEST(long_ones[i] == plain[i] / config.long_factors[i]);
  }
  const auto table = layers::make_rope_table(config, 33);
  BOOST_TEST(table.cos[0] == 1.25F);
  BOOST_TEST(table.sin[32 * 4 + 1] == static_cast<float>(1.25 * std::sin(32 * long_ones[1])));
}

BOOST_AUTO_TEST_CASE(phi_3_frequencies_agree_with_transformers) {
  // inv_freq of transformers 5.24.0 (float32) for three frequencies of Phi 3 mini 128k: number,
  // short and long factor, short and long frequency.
  struct frequency {
    std::size_t index;
    double short_factor, long_factor, short_value, long_value;
  };

  const frequency expected[] = {
      {0, 1.1, 1.0700000524520874, 0.9090908765792847, 0.9345793724060059},
      {24, 2.0, 53.66000747680664, 0.004999999888241291, 0.00018635852029547095},
      {47, 3.049999999999997, 64.76000213623047, 3.9722213841741905e-05, 1.870796040748246e-06}};
  weights::rope_config config{.theta = 10000.0,
                              .rotary_dim = 96,
                              .scaling = weights::rope_scaling_kind::longrope,
                              .original_max_positions = 4096,
                              .short_factors = std::vector<double>(48, 1),
                              .long_factors = std::vector<double>(48, 1)};
  for (const auto& one : expected) {
    config.short_factors[one.index] = one.short_factor;
    config.long_factors[one.index] = one.long_factor;
  }
  const auto short_ones = layers::rope_frequencies(config, 4096);
  const auto long_ones = layers::rope_frequencies(config, 131072);
  for (const auto& one : expected) {
    BOOST_TEST(short_ones[one.index] == one.short_value, boost::test_tools::tolerance(2e-6));
    BOOST_TEST(long_ones[one.index] == one.long_value, boost::test_tools::tolerance(2e-6));
  }
}

// L-1: the leaves are a power of two that divides the units, and tensor ranks share them evenly
// where they can.
BOOST_AUTO_TEST_CASE(reduction_leaves_divide_their_units) {
  for (std::int32_t units = 1; units < 200; ++units) {
    const auto leaves = layers::reduction_leaves(units);
    BOOST_TEST(units % leaves == 0);
    BOOST_TEST((leaves & (leaves - 1)) == 0);
    BOOST_TEST((leaves == 8 || units % (2 * leaves) != 0));
    for (const std::int32_t tensor : {1, 2, 4, 8, 16}) {
      if (units % tensor == 0) {
        const auto share = layers::leaves_of_rank(leaves, tensor);
        BOOST_TEST((units / tensor) % share == 0);
        BOOST_TEST((leaves % tensor != 0 || share * tensor == leaves));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(tensor_ranks_cover_every_element_of_a_fused_weight_once) {
  const auto model = small_model();
  for (const std::int32_t size : {1, 2, 4, 8}) {
    std::map<std::string, std::vector<int>> covered; // by tensor, one counter per row
    for (std::int32_t rank = 0; rank < size; ++rank) {
      weights::weight_plan_builder builder(kernels::dtype::float32);
      auto to = declaration_for(builder, rank, size);
      const auto attend = layers::declare_attention(to,
                                                    "a",
                                                    {.q = source("q", 64, 64),
                                                     .k = source("k", 16, 64),
                                                     .v = source("v", 16, 64),
                                                     .out = source("o", 64, 64),
                                                     .q_norm = {},
                                                     .k_norm = {}},
                                                    model);
      const auto plan = std::move(builder).build();
      BOOST_TEST(attend.heads == 8 / size);
      BOOST_TEST(attend.kv_heads == std::max(1, 2 / size));
      BOOST_TEST(attend.heads % attend.kv_heads == 0);
      BOOST_TEST(attend.qkv.out_features == (attend.heads + 2 * attend.kv_heads) * 8);
      for (const auto& slice : plan.find("a.qkv")->slices) {
        auto& rows = covered[slice.tensor.names.front()];
        rows.resize(static_cast<std::size_t>(slice.tensor.shape.rows));
        for (auto row = slice.rows.first; row < slice.rows.end(); ++row) {
          ++rows[static_cast<std::size_t>(row)];
        }
      }
      const auto& out = plan.find("a.out")->slices.front();
      BOOST_TEST(out.columns.first == rank * 64 / size);
      BOOST_TEST(out.columns.count == 64 / size);
    }
    const int replicas = std::max(1, size / 2); // KV heads are replicated beyond two ranks
    for (const auto& [name, rows] : covered) {
      for (const int times : rows) {
        BOOST_TEST(times == (name == ".weight" || name == "q.weight" ? 1 : replicas));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_query_head_finds_its_key_head_on_the_same_rank) {
  const auto model = small_model();
  for (const std::int32_t size : {1, 2, 4, 8}) {
    for (std::int32_t rank = 0; rank < size; ++rank) {
      weights::weight_plan_builder builder(kernels::dtype::float32);
      auto to = declaration_for(builder, rank, size);
      const auto attend = layers::declare_attention(to,
                                                    "a",
                                                    {.q = source("q", 64, 64),
                                                     .k = source("k", 16, 64),
                                                     .v = source("v", 16, 64),
                                                     .out = source("o", 64, 64),
                                                     .q_norm = {},
                                                     .k_norm = {}},
                                                    model);
      const auto plan = std::move(builder).build();
      const auto& slices = plan.find("a.qkv")->slices;
      const auto first_q = slices[0].rows.first / 8;
      const auto first_kv = slices[1].rows.first / 8;
      for (std::int32_t head = 0; head < attend.heads; ++head) {
        const auto wanted = (first_q + head) / 4; // four query heads share one key head
        BOOST_TEST(first_kv + head / (attend.heads / attend.kv_heads) == wanted);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(parts_of_a_fused_checkpoint_tensor_keep_their_offsets) {
  auto model = small_model();
  model.kv_heads = 8;
  weights::weight_plan_builder builder(kernels::dtype::float32);
  auto to = declaration_for(builder, 1, 2);
  const auto part = [](std::int64_t first_row) {
    auto made = source("c_attn", 192, 64);
    made.first_row = first_row;
    made.has_bias = true;
    return made;
  };
  (void)layers::declare_attention(to,
                                  "a",
                                  {.q = part(0),
                                   .k = part(64),
                                   .v = part(128),
                                   .out = source("o", 64, 64),
                                   .q_norm = {},
                                   .k_norm = {}},
                                  model);
  const auto plan = std::move(builder).build();
  const std::int64_t expected[] = {32, 64 + 32, 128 + 32};
  for (const auto* name : {"a.qkv", "a.qkv.bias"}) {
    const auto& slices = plan.find(name)->slices;
    BOOST_TEST_REQUIRE(slices.size() == 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      BOOST_TEST(slices[i].rows.first == expected[i]);
      BOOST_TEST(slices[i].rows.count == 32);
      BOOST_TEST(slices[i].destination_row == static_cast<std::int64_t>(i) * 32);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_rank_holds_a_whole_linear) {
  for (const std::int32_t rank : {0, 1}) {
    weights::weight_plan_builder builder(kernels::dtype::float32);
    auto to = declaration_for(builder, rank, 2);
    const auto made = layers::declare_whole(to, "widen", source("project_in", 64, 16));
    const auto plan = std::move(builder).build();
    BOOST_TEST(made.out_features == 64);
    BOOST_TEST(made.in_features == 16);
    BOOST_TEST((plan.find("widen")->shape == weights::tensor_shape{64, 16}));
  }
}

BOOST_AUTO_TEST_CASE(vocabulary_parts_are_equal_and_cover_all_real_rows) {
  for (const std::int32_t vocabulary : {1, 9, 251, 257, 50257}) {
    auto model = small_model();
    model.vocabulary = vocabulary;
    for (const std::int32_t size : {1, 2, 4, 8}) {
      std::int64_t covered = 0;
      std::int32_t width = 0;
      for (std::int32_t rank = 0; rank < size; ++rank) {
        weights::weight_plan_builder builder(kernels::dtype::float32);
        auto to = declaration_for(builder, rank, size);
        const auto table = layers::declare_embedding(to, "embedding", {"wte"}, model);
        const auto head = layers::declare_lm_head(to, "head", {"wte"}, table.table, model);
        const auto plan = std::move(builder).build();
        BOOST_TEST((rank == 0 || table.rows == width));
        width = table.rows;
        BOOST_TEST(head.width() == width);
        BOOST_TEST(table.first_row == rank * width);
        for (const auto& slice : plan.weights.front().slices) {
          BOOST_TEST(slice.rows.first == covered);
          covered += slice.rows.count;
        }
      }
      BOOST_TEST(covered == vocabulary);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
