#include "actors/system/lane_threads.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <future>

using vdist::actors::lane_threads;

BOOST_AUTO_TEST_SUITE(lane_threads_rules)

BOOST_AUTO_TEST_CASE(waits_for_every_thread_at_its_end) {
  std::atomic<int> ended{0};
  {
    lane_threads threads;
    for (int i = 0; i < 8; ++i) {
      threads.start("a-name-that-is-longer-than-fits", [&ended] { ++ended; });
    }
  }
  BOOST_TEST(ended == 8);
}

BOOST_AUTO_TEST_CASE(counts_those_that_run_and_starts_others_meanwhile) {
  std::promise<void> leave;
  const auto may_leave = leave.get_future().share();
  lane_threads threads;
  threads.start("long", [may_leave] { may_leave.wait(); });
  BOOST_TEST(threads.running() >= 1U);
  for (int i = 0; i < 100; ++i) {
    std::promise<void> done;
    threads.start("short", [&done] { done.set_value(); });
    done.get_future().wait();
  }
  BOOST_TEST(threads.running() >= 1U);
  leave.set_value();
  while (threads.running() > 0) {
  }
  BOOST_TEST(threads.running() == 0U);
}

BOOST_AUTO_TEST_CASE(a_lane_may_start_another) {
  std::atomic<int> ended{0};
  std::promise<void> started;
  {
    lane_threads threads;
    threads.start("parent", [&] {
      threads.start("child", [&ended] { ++ended; });
      ++ended;
      started.set_value();
    });
    started.get_future().wait();
  }
  BOOST_TEST(ended == 2);
}

BOOST_AUTO_TEST_SUITE_END()
