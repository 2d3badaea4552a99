#include "runtime/topology/smaller.hpp"

#include <boost/test/unit_test.hpp>

#include <ostream>
#include <string>
#include <vector>

using namespace vdist::topology;

namespace {

constexpr model_facts eight_b{.layers = 32,
                              .heads = 32,
                              .kv_heads = 8,
                              .intermediate = 14336,
                              .vocabulary = 128256,
                              .hidden = 4096};
/// Heads and columns that three and six divide.
constexpr model_facts three{
    .layers = 4, .heads = 6, .kv_heads = 6, .intermediate = 24, .vocabulary = 64, .hidden = 48};
constexpr std::int32_t leaves = 8;

/// "2x4" is pipeline 2 × tensor 4; a star marks sums of other bits.
std::string text_of(const std::vector<smaller_shape>& shapes) {
  std::string text;
  for (const auto& shape : shapes) {
    text += (text.empty() ? "" : " ") + std::to_string(shape.sizes.pipeline) + "x"
            + std::to_string(shape.sizes.tensor) + (shape.keeps_sums ? "" : "*");
  }
  return text;
}

std::string smaller_than(const parallel_sizes& sizes,
                         const model_facts& model = eight_b,
                         std::int32_t of_sums = leaves) {
  return text_of(smaller_shapes(sizes, model, of_sums));
}

} // namespace

BOOST_AUTO_TEST_SUITE(smaller)

BOOST_AUTO_TEST_CASE(a_split_in_one_dimension_shrinks_in_that_one) { // T-5
  BOOST_TEST(smaller_than({.tensor = 2}) == "1x1");
  BOOST_TEST(smaller_than({.tensor = 8}) == "1x4 1x2 1x1");
  BOOST_TEST(smaller_than({.pipeline = 2}) == "1x1");
  BOOST_TEST(smaller_than({.pipeline = 4}) == "3x1 2x1 1x1");
}

BOOST_AUTO_TEST_CASE(most_workers_come_first_and_then_the_larger_tensor_size) { // T-5
  BOOST_TEST(smaller_than({.pipeline = 2, .tensor = 2}) == "1x2 2x1 1x1");
  BOOST_TEST(smaller_than({.pipeline = 3, .tensor = 4}) == "2x4 3x2 1x4 2x2 3x1 1x2 2x1 1x1");
}

BOOST_AUTO_TEST_CASE(sums_of_the_same_bits_come_before_more_workers) { // T-5
  BOOST_TEST(smaller_than({.tensor = 6}, three, 2) == "1x3* 1x2* 1x1*", "6 is no tree of 2 leaves");
  BOOST_TEST(smaller_than({.pipeline = 2, .tensor = 3}, three, 2) == "1x3 2x2* 1x2* 2x1* 1x1*");
  BOOST_TEST(smaller_than({.pipeline = 2, .tensor = 2}, three, 2) == "1x2 2x1 1x1");
  BOOST_TEST(smaller_than({.tensor = 16}, eight_b, leaves) == "1x8* 1x4* 1x2* 1x1*",
             "beyond the leaves a rank sums alone");
}

BOOST_AUTO_TEST_CASE(one_worker_per_replica_has_nothing_smaller) { // T-4
  BOOST_TEST(smaller_than({}).empty());
  BOOST_TEST(smaller_than({.data = 4}).empty(), "replicas are given up, not taken from others");
}

BOOST_AUTO_TEST_CASE(
    whoever_takes_one_after_the_other_comes_to_one_worker_and_every_step_is_legal) { // T-4
  for (const auto& model : {eight_b, three}) {
    for (const auto tensor : legal_tensor_sizes(model)) {
      for (std::int32_t stages = 1; stages <= 4; ++stages) {
        for (const std::int32_t of_sums : {1, 2, 8}) {
          parallel_sizes now{.data = 2, .pipeline = stages, .tensor = tensor};
          for (auto next = smaller_shapes(now, model, of_sums); !next.empty();
               next = smaller_shapes(now, model, of_sums)) {
            for (const auto& shape : next) {
              BOOST_TEST(shape.sizes.data == 2);
              BOOST_TEST(shape.sizes.replica_world() < now.replica_world());
              BOOST_TEST(shape.sizes.tensor <= now.tensor);
              BOOST_TEST(shape.sizes.pipeline <= now.pipeline);
              BOOST_TEST(
                  cluster_layout::make(
                      {.sizes = shape.sizes, .model = model, .pipeline_layers = {}, .nodes = {}})
                      .has_value());
            }
            now = next.front().sizes;
          }
          BOOST_TEST(now.replica_world() == 1);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
