// Y-1 and Y-2: whose digest is wrong.
#include "actors/executor/digest_vote.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist::actors;

namespace {

void check(const std::vector<std::uint64_t>& digests,
           const std::vector<std::size_t>& named,
           bool is_certain) {
  const auto vote = vote_on(digests);
  BOOST_TEST(vote.named == named, boost::test_tools::per_element());
  BOOST_TEST(vote.is_certain == is_certain);
}

} // namespace

BOOST_AUTO_TEST_CASE(nobody_is_named_while_all_agree) {
  check({}, {}, false);
  check({7}, {}, false);
  check({7, 7, 7, 7}, {}, false);
}

BOOST_AUTO_TEST_CASE(y1_a_minority_is_wrong) {
  check({7, 8, 7}, {1}, true);
  check({8, 7, 7, 7}, {0}, true);
  check({7, 8, 7, 9, 7}, {1, 3}, true);
  check({1, 1, 1, 1, 1, 2, 3, 1}, {5, 6}, true);
}

BOOST_AUTO_TEST_CASE(y2_without_a_majority_all_are_suspected) {
  check({7, 8}, {0, 1}, false);
  check({7, 7, 8, 8}, {0, 1, 2, 3}, false);
  check({1, 2, 3}, {0, 1, 2}, false);
}
