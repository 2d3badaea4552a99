#include "model/hub/stall_watch.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using vdist::hub::stall_watch;
using namespace std::chrono_literals;

constexpr stall_watch::time_point start{1h};

} // namespace

BOOST_AUTO_TEST_CASE(silence_and_a_trickle_are_stuck_after_the_time_and_progress_is_not) {
  stall_watch silent(30s, 100, start);
  BOOST_TEST(!silent.is_stuck(0, start + 29'999ms));
  BOOST_TEST(silent.is_stuck(0, start + 30s));
  stall_watch trickling(30s, 100, start);
  for (int second = 1; second < 30; ++second) {
    BOOST_TEST(!trickling.is_stuck(3 * second, start + second * 1s));
  }
  BOOST_TEST(trickling.is_stuck(3 * 30, start + 30s));
  stall_watch slow(30s, 100, start);
  for (int second = 1; second < 1'000; ++second) {
    BOOST_TEST(!slow.is_stuck(4 * second, start + second * 1s));
  }
  // The last whole hundred was gained at 975 s.
  BOOST_TEST(!slow.is_stuck(4 * 999, start + 1'004s));
  BOOST_TEST(slow.is_stuck(4 * 999, start + 1'005s));
}
