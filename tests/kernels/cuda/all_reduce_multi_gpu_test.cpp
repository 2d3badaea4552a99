// Groups with a GPU for every rank, over the links between them.
#include "tests/kernels/cuda/device_group_cases.hpp"

namespace {

using namespace vdist::kernels::testing;

namespace utf = boost::unit_test;

/// All GPUs that make a legal group.
devices one_each() {
  const auto there = cuda_or_null()->device_count();
  devices out;
  for (std::int32_t d = 0; d < (there >= 8 ? 8 : there >= 4 ? 4 : 2); ++d) {
    out.push_back(d);
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_group_on_many_gpus, *utf::precondition(has_gpus(2)))

BOOST_AUTO_TEST_CASE(sums_have_the_bits_of_the_tree_on_two) {
  sums_have_the_bits_of_the_tree({0, 1});
}

BOOST_AUTO_TEST_CASE(sums_have_the_bits_of_the_tree_on_all) {
  sums_have_the_bits_of_the_tree(one_each());
}

BOOST_AUTO_TEST_CASE(sums_go_onto_something_else) {
  sums_are_added_to_something_else(one_each());
}

BOOST_AUTO_TEST_CASE(bfloat16_is_rounded_once) {
  bfloat16_sums_are_rounded_once(one_each());
}

BOOST_AUTO_TEST_CASE(gathers_and_broadcasts_of_any_size) {
  gathers_and_broadcasts(one_each());
}

BOOST_AUTO_TEST_CASE(gathers_whole_rows_of_any_shape) {
  gathers_whole_rows(one_each());
}

BOOST_AUTO_TEST_CASE(pipes_deliver_in_order) {
  a_pipe_delivers_in_order({0, 1});
}

BOOST_AUTO_TEST_CASE(a_thousand_recorded_sums) {
  a_thousand_recorded_sums_are_right(one_each());
}

BOOST_AUTO_TEST_CASE(a_fence_ends_waits_and_graphs_go_on_in_the_next_epoch) {
  a_fenced_graph_serves_the_next_epoch(one_each());
}

BOOST_AUTO_TEST_CASE(deadlines_name_the_late_rank) {
  a_rank_that_never_comes_is_named(one_each());
}

BOOST_AUTO_TEST_SUITE_END()
