#include "runtime/topology/placement.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist;
using namespace vdist::topology;

BOOST_AUTO_TEST_SUITE(placement)

BOOST_AUTO_TEST_CASE(one_node_without_devices_numbers_them_from_zero) {
  const auto places = place_ranks(3, std::vector<node_spec>(1));
  BOOST_REQUIRE(places.has_value());
  for (std::size_t r = 0; r < 3; ++r) {
    BOOST_TEST((*places)[r].node == 0);
    BOOST_TEST((*places)[r].device == static_cast<std::int32_t>(r));
    BOOST_TEST((*places)[r].local_index == static_cast<std::int32_t>(r));
  }
}

BOOST_AUTO_TEST_CASE(listed_devices_are_filled_node_by_node) {
  const std::vector<node_spec> nodes{{"a", "10.0.0.1", {2, 5}}, {"b", "10.0.0.2", {7, 1, 0}}};
  const auto places = place_ranks(4, nodes);
  BOOST_REQUIRE(places.has_value());
  const std::vector<std::int32_t> node{0, 0, 1, 1};
  const std::vector<std::int32_t> device{2, 5, 7, 1};
  for (std::size_t r = 0; r < 4; ++r) {
    BOOST_TEST((*places)[r].node == node[r]);
    BOOST_TEST((*places)[r].device == device[r]);
  }
}

BOOST_AUTO_TEST_CASE(nodes_without_devices_get_equal_shares_or_a_clear_error) {
  const std::vector<node_spec> nodes{{"a", "h", {}}, {"b", "h", {}}};
  const auto places = place_ranks(6, nodes);
  BOOST_REQUIRE(places.has_value());
  BOOST_TEST((*places)[3].node == 1);
  BOOST_TEST((*places)[5].local_index == 2);
  const auto odd = place_ranks(5, nodes);
  BOOST_REQUIRE(!odd.has_value());
  BOOST_TEST(odd.error().context.find("workers=5, nodes=2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(refuses_too_few_devices_and_mixed_lists) {
  const auto few = place_ranks(4, std::vector<node_spec>{{"a", "h", {0, 1}}});
  BOOST_REQUIRE(!few.has_value());
  BOOST_TEST((few.error().code == errc::bad_configuration));
  BOOST_TEST(few.error().context.find("workers=4, devices=2") != std::string::npos);
  const auto mixed = place_ranks(2, std::vector<node_spec>{{"a", "h", {0, 1}}, {"b", "h", {}}});
  BOOST_REQUIRE(!mixed.has_value());
  BOOST_TEST(mixed.error().context.find("node.name=b") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
