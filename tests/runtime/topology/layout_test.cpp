#include "runtime/topology/layout.hpp"

#include <boost/test/unit_test.hpp>

#include <numeric>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::topology;

namespace {

using counts = std::vector<std::int32_t>;

constexpr model_facts eight_b{.layers = 32,
                              .heads = 32,
                              .kv_heads = 8,
                              .intermediate = 14336,
                              .vocabulary = 128256,
                              .hidden = 4096};

layout_inputs inputs_of(parallel_sizes sizes, model_facts facts = eight_b) {
  return {.sizes = sizes, .model = facts, .pipeline_layers = {}, .nodes = {}};
}

counts split(std::int32_t layers, std::int32_t stages, const counts& given = {}) {
  const auto ranges = split_layers(layers, stages, given);
  BOOST_REQUIRE(ranges.has_value());
  counts out;
  for (const layer_range& r : *ranges) {
    out.push_back(r.count());
  }
  return out;
}

void check_refused(const layout_inputs& inputs, errc code, const std::string& part) {
  const auto layout = cluster_layout::make(inputs);
  BOOST_REQUIRE(!layout.has_value());
  BOOST_TEST((layout.error().code == code));
  BOOST_TEST_INFO(layout.error().context);
  BOOST_TEST(layout.error().context.find(part) != std::string::npos);
  BOOST_TEST(exit_code(layout.error().code) == 2);
}

void check_split_refused(std::int32_t layers,
                         std::int32_t stages,
                         const counts& given,
                         const std::string& part) {
  const auto ranges = split_layers(layers, stages, given);
  BOOST_REQUIRE(!ranges.has_value());
  BOOST_TEST_INFO(ranges.error().context);
  BOOST_TEST(ranges.error().context.find(part) != std::string::npos);
}

} // namespace

BOOST_AUTO_TEST_SUITE(layout)

BOOST_AUTO_TEST_CASE(splits_layers_as_the_golden_partitions_say) {
  BOOST_TEST(split(3, 2) == (counts{2, 1}), boost::test_tools::per_element());
  BOOST_TEST(split(4, 3) == (counts{1, 2, 1}), boost::test_tools::per_element());
  BOOST_TEST(split(5, 3) == (counts{2, 2, 1}), boost::test_tools::per_element());
  BOOST_TEST(split(22, 4) == (counts{5, 6, 6, 5}), boost::test_tools::per_element());
  BOOST_TEST(split(22, 4, {5, 6, 5, 6}) == (counts{5, 6, 5, 6}), boost::test_tools::per_element());
}

// T-2
BOOST_AUTO_TEST_CASE(stages_cover_all_layers_and_the_last_stage_never_gets_more) {
  for (std::int32_t layers = 1; layers <= 40; ++layers) {
    for (std::int32_t stages = 1; stages <= layers; ++stages) {
      const auto ranges = split_layers(layers, stages);
      BOOST_REQUIRE(ranges.has_value());
      BOOST_REQUIRE_EQUAL(ranges->size(), static_cast<std::size_t>(stages));
      std::int32_t next = 0;
      for (const layer_range& r : *ranges) {
        BOOST_TEST(r.first == next);
        BOOST_TEST(r.count() >= layers / stages);
        BOOST_TEST(r.count() <= layers / stages + 1);
        next = r.last;
      }
      BOOST_TEST(next == layers);
      BOOST_TEST(ranges->back().count() == layers / stages);
      // The first stage gets one more only when every stage but the last does.
      BOOST_TEST((ranges->front().count() > layers / stages)
                 == (stages > 1 && layers % stages == stages - 1));
    }
  }
}

BOOST_AUTO_TEST_CASE(refuses_splits_that_do_not_fit) {
  check_split_refused(22, 4, {6, 6, 6}, "entries=3, parallel.pipeline=4");
  check_split_refused(22, 4, {6, 6, 6, 6}, "sum=24, layers=22");
  check_split_refused(22, 4, {11, 11, 0, 0}, "entry=0");
  check_split_refused(22, 4, {30, -8, 0, 0}, "entry=-8");
  check_split_refused(2, 1, {2147483647, 2147483647}, "entries=2");
  check_split_refused(4, 2, {2147483647, 2147483647}, "sum=4294967294");
  check_split_refused(4, 5, {}, "legal: 1 to 4");
  check_split_refused(0, 1, {}, "at least one layer");
}

BOOST_AUTO_TEST_CASE(lists_the_tensor_sizes_of_a_model) {
  BOOST_TEST(legal_tensor_sizes(eight_b) == (counts{1, 2, 4, 8, 16, 32}),
             boost::test_tools::per_element());
  // 14 heads, 2 key/value heads: 7 ranks would need two heads each and a piece of a key/value head.
  const model_facts small{24, 14, 2, 4864, 151936, 896};
  BOOST_TEST(legal_tensor_sizes(small) == (counts{1, 2}), boost::test_tools::per_element());
  model_facts many = eight_b;
  many.heads = many.kv_heads = 128;
  BOOST_TEST(legal_tensor_sizes(many).back() == tensor_size_max);
}

BOOST_AUTO_TEST_CASE(refuses_a_tensor_size_and_names_the_legal_ones) {
  check_refused(inputs_of({.tensor = 3}),
                errc::bad_configuration,
                "legal for this model: 1, 2, 4, 8, 16, 32");
  check_refused(inputs_of({.tensor = 64}), errc::bad_configuration, "parallel.tensor=64, heads=32");
}

BOOST_AUTO_TEST_CASE(refuses_dimensions_that_are_not_supported) {
  check_refused(inputs_of({.prefill_context = 2}), errc::unsupported, "parallel.prefill_context=2");
  check_refused(inputs_of({.tensor = 2, .decode_context = 2}),
                errc::unsupported,
                "parallel.decode_context=2");
  check_refused(inputs_of({.expert = true}), errc::unsupported, "parallel.expert=true");
}

BOOST_AUTO_TEST_CASE(refuses_sizes_that_make_no_sense) {
  check_refused(inputs_of({.data = 0}), errc::bad_configuration, "parallel.data");
  check_refused(inputs_of({.data = 64, .pipeline = 32, .tensor = 32}),
                errc::bad_configuration,
                "at most 4096");
  check_refused(
      inputs_of({.data = 4096, .pipeline = 4096, .prefill_context = 4096, .tensor = 4096}),
      errc::bad_configuration,
      "at most 4096");
  model_facts odd = eight_b;
  odd.kv_heads = 5;
  check_refused(inputs_of({}, odd), errc::bad_configuration, "kv_heads=5");
  check_refused(inputs_of({}, {}), errc::bad_configuration, "layers=0");
  check_refused(inputs_of({.pipeline = 33}), errc::bad_configuration, "legal: 1 to 32");
}

BOOST_AUTO_TEST_CASE(places_every_rank_of_sixty_four) {
  const auto layout = cluster_layout::make(inputs_of({.data = 2, .pipeline = 4, .tensor = 8}));
  BOOST_REQUIRE(layout.has_value());
  BOOST_TEST(layout->world() == 64);
  BOOST_TEST(layout->sampling_rank(0).value == 24);
  BOOST_TEST(layout->sampling_rank(1).value == 56);
  BOOST_TEST(layout->ranks_of_replica(1).front().value == 32);
  BOOST_TEST(layout->ranks_of_replica(1).size() == 32U);
  for (std::int32_t r = 0; r < layout->world(); ++r) {
    const rank_id rank(r);
    const shard s = layout->shard_of(rank);
    BOOST_TEST(s.stages == 4);
    BOOST_TEST(s.layers.count() == 8);
    BOOST_TEST(s.layers.first == s.stage * 8);
    BOOST_TEST(s.tensor_size == 8);
    BOOST_TEST(s.tensor_rank == r % 8);
    BOOST_TEST(s.is_first_stage() == (s.stage == 0));
    BOOST_TEST(s.is_last_stage() == (s.stage == 3));
    BOOST_TEST(layout->place_of(rank).device == r);
    const group& tensor = layout->group_of(group_kind::tensor, rank);
    BOOST_TEST(tensor.ranks[static_cast<std::size_t>(s.tensor_rank)].value == r);
    BOOST_TEST((tensor.ranks == layout->ranks_of_stage(layout->replica_of(rank), s.stage)));
  }
}

BOOST_AUTO_TEST_CASE(draws_the_layout) {
  layout_inputs inputs = inputs_of({.data = 2, .pipeline = 2, .tensor = 2});
  inputs.pipeline_layers = {17, 15};
  inputs.nodes = {{"n0", "h", {0, 1, 2, 3}}, {"n1", "h", {0, 1, 2, 3}}};
  const auto layout = cluster_layout::make(inputs);
  BOOST_REQUIRE(layout.has_value());
  BOOST_TEST(render(*layout)
             == "8 workers: data 2 x pipeline 2 x tensor 2\n"
                "replica 0 on n0[0,1,2,3]\n"
                "  stage 0  layers 0-16  | 0 1 |  embedding\n"
                "  stage 1  layers 17-31 | 2 3 |  lm head\n"
                "replica 1 on n1[0,1,2,3]\n"
                "  stage 0  layers 0-16  | 4 5 |  embedding\n"
                "  stage 1  layers 17-31 | 6 7 |  lm head\n");
}

BOOST_AUTO_TEST_CASE(draws_one_worker) {
  const auto layout = cluster_layout::make(inputs_of({}));
  BOOST_REQUIRE(layout.has_value());
  BOOST_TEST(render(*layout)
             == "1 worker: data 1 x pipeline 1 x tensor 1\n"
                "replica 0 on local[0]\n"
                "  stage 0  layers 0-31  | 0 |  embedding, lm head\n");
}

BOOST_AUTO_TEST_SUITE_END()
