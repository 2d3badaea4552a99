#include "runtime/config/nearest.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace vdist::config;

namespace {

const std::vector<std::string_view> candidates{
    "parallel.tensor", "parallel.data", "device.threads", "server.host"};

} // namespace

BOOST_AUTO_TEST_SUITE(nearest_key)

BOOST_AUTO_TEST_CASE(a_known_name_is_nearest_to_itself) {
  for (const std::string_view name : candidates) {
    BOOST_TEST(nearest(name, candidates) == name);
  }
}

BOOST_AUTO_TEST_CASE(finds_a_key_with_one_letter_wrong_left_out_or_too_much) {
  for (const std::string_view name : candidates) {
    for (std::size_t i = 0; i < name.size(); ++i) {
      std::string wrong(name);
      wrong[i] = '_';
      BOOST_TEST(nearest(wrong, candidates) == name);
      BOOST_TEST(nearest(std::string(name).erase(i, 1), candidates) == name);
      BOOST_TEST(nearest(std::string(name).insert(i, "z"), candidates) == name);
    }
  }
}

BOOST_AUTO_TEST_CASE(finds_a_key_in_the_wrong_section) {
  BOOST_TEST(nearest("host", candidates) == "server.host");
  BOOST_TEST(nearest("scheduler.threads", candidates) == "device.threads");
}

BOOST_AUTO_TEST_CASE(an_endless_name_costs_no_time) {
  BOOST_TEST(!nearest(std::string(1 << 20, 'x'), candidates).empty());
}

BOOST_AUTO_TEST_SUITE_END()
