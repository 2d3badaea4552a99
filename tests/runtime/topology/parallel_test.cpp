#include "runtime/topology/parallel.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist;
using namespace vdist::topology;

namespace {

std::vector<parallel_sizes> all_small_sizes() {
  std::vector<parallel_sizes> all;
  for (const std::int32_t data : {1, 2, 3}) {
    for (const std::int32_t pipeline : {1, 2, 5}) {
      for (const std::int32_t prefill : {1, 2}) {
        for (const std::int32_t tensor : {1, 3, 4}) {
          all.push_back({data, pipeline, prefill, tensor, 1, false});
        }
      }
    }
  }
  return all;
}

} // namespace

BOOST_AUTO_TEST_SUITE(parallel)

BOOST_AUTO_TEST_CASE(coordinates_and_ranks_are_inverse) {
  for (const parallel_sizes& sizes : all_small_sizes()) {
    for (std::int32_t r = 0; r < sizes.world(); ++r) {
      BOOST_TEST(rank_of(coordinates_of(rank_id(r), sizes), sizes).value == r);
    }
  }
}

BOOST_AUTO_TEST_CASE(ranks_count_like_nested_loops_with_tensor_innermost) {
  for (const parallel_sizes& sizes : all_small_sizes()) {
    std::int32_t expected = 0;
    for (std::int32_t d = 0; d < sizes.data; ++d) {
      for (std::int32_t p = 0; p < sizes.pipeline; ++p) {
        for (std::int32_t c = 0; c < sizes.prefill_context; ++c) {
          for (std::int32_t t = 0; t < sizes.tensor; ++t) {
            BOOST_TEST(rank_of({d, p, c, t}, sizes).value == expected);
            ++expected;
          }
        }
      }
    }
    BOOST_TEST(expected == sizes.world());
    BOOST_TEST(sizes.replica_world() * sizes.data == sizes.world());
  }
}

BOOST_AUTO_TEST_SUITE_END()
