// Groups whose ranks share one GPU: the protocol itself, without links. At most 16 blocks per rank, so that all are on the
// device together.
#include "tests/kernels/cuda/device_group_cases.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

namespace utf = boost::unit_test;

devices on_one(std::size_t ranks) {
  return devices(ranks, 0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_group_on_one_gpu, *utf::precondition(has_gpu))

BOOST_AUTO_TEST_CASE(sums_of_two_have_the_bits_of_the_tree) {
  sums_have_the_bits_of_the_tree(on_one(2));
}

BOOST_AUTO_TEST_CASE(sums_of_four_have_the_bits_of_the_tree) {
  sums_have_the_bits_of_the_tree(on_one(4));
}

BOOST_AUTO_TEST_CASE(sums_of_eight_have_the_bits_of_the_tree) {
  sums_have_the_bits_of_the_tree(on_one(8));
}

BOOST_AUTO_TEST_CASE(sums_go_onto_something_else) {
  sums_are_added_to_something_else(on_one(2));
  sums_are_added_to_something_else(on_one(4));
}

BOOST_AUTO_TEST_CASE(bfloat16_is_rounded_once) {
  bfloat16_sums_are_rounded_once(on_one(2));
  bfloat16_sums_are_rounded_once(on_one(4));
}

BOOST_AUTO_TEST_CASE(gathers_and_broadcasts_of_any_size) {
  gathers_and_broadcasts(on_one(2));
  gathers_and_broadcasts(on_one(4));
}

BOOST_AUTO_TEST_CASE(gathers_whole_rows_of_any_shape) {
  gathers_whole_rows(on_one(2));
  gathers_whole_rows(on_one(4));
}

BOOST_AUTO_TEST_CASE(pipes_deliver_in_order) {
  a_pipe_delivers_in_order(on_one(2));
}

BOOST_AUTO_TEST_CASE(a_thousand_recorded_sums) {
  a_thousand_recorded_sums_are_right(on_one(2));
  a_thousand_recorded_sums_are_right(on_one(4));
}

BOOST_AUTO_TEST_CASE(a_fence_ends_waits_and_graphs_go_on_in_the_next_epoch) {
  a_fenced_graph_serves_the_next_epoch(on_one(2));
}

BOOST_AUTO_TEST_CASE(deadlines_name_the_late_rank) {
  a_rank_that_never_comes_is_named(on_one(2));
  a_rank_that_never_comes_is_named(on_one(4));
}

BOOST_AUTO_TEST_CASE(illegal_groups_are_refused) {
  auto device = make_cuda_backend();
  std::string why;
  BOOST_TEST(device->join_group({.ranks = 3, .layout = group_layout(3)}, why) == nullptr);
  BOOST_TEST(why.find("ranks=3") != std::string::npos);
  std::vector<std::byte> host(512);
  device_group_config config{.layout = group_layout(2)};
  config.regions = {host.data(), host.data()};
  BOOST_TEST(device->join_group(config, why) == nullptr);
  BOOST_TEST(why.find("no device memory") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
