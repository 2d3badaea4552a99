// J-1 and J-2: what is done about ranks that compute something else than their peers.
#include "actors/supervisor/accusations.hpp"

#include <boost/test/unit_test.hpp>

using vdist::time_point;
using vdist::supervisor::accusations;
using verdict = accusations::verdict;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(accused_workers)

BOOST_AUTO_TEST_CASE(j1_who_differs_from_a_majority_is_replaced_and_at_last_retired) {
  accusations all(3);
  time_point now{1s};
  BOOST_TEST((all.accuse(1, true, now) == verdict::replace));
  BOOST_TEST((all.accuse(1, true, now += 10min) == verdict::replace));
  BOOST_TEST((all.accuse(2, true, now) == verdict::replace), "every slot counts for itself");
  BOOST_TEST((all.accuse(1, true, now += 10min) == verdict::retire));
}

BOOST_AUTO_TEST_CASE(j1_of_two_that_differ_both_are_replaced_when_it_happens_again) {
  accusations all(2);
  time_point now{1s};
  for (int round = 0; round < 10; ++round) {
    for (const auto wanted : {verdict::none, verdict::replace}) {
      now += 1min;
      BOOST_TEST((all.accuse(0, false, now) == wanted));
      BOOST_TEST((all.accuse(1, false, now) == wanted), "suspicion never retires a device");
    }
  }
}

BOOST_AUTO_TEST_CASE(j2_what_was_long_ago_is_forgotten) {
  accusations all(3);
  time_point now{1s};
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST((all.accuse(0, true, now) == verdict::replace));
    now += std::chrono::minutes(accusations::window) / 2 + 1min;
  }
}

BOOST_AUTO_TEST_SUITE_END()
