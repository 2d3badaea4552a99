#include "actors/run/progress.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist::actors;
using namespace std::chrono_literals;
using time_point = std::chrono::steady_clock::time_point;

constexpr std::uint64_t megabyte = 1'000'000;

} // namespace

BOOST_AUTO_TEST_CASE(a_rate_is_unknown_before_two_moments_and_counts_from_the_first) {
  transfer_rate rate;
  BOOST_TEST(rate.bytes_per_second() == 0);
  const time_point start{1h};
  rate.note(start, 900 * megabyte); // there already: no speed
  BOOST_TEST(rate.bytes_per_second() == 0);
  rate.note(start, 900 * megabyte); // no time has passed
  BOOST_TEST(rate.bytes_per_second() == 0);
  rate.note(start + 1s, 950 * megabyte);
  BOOST_TEST(rate.bytes_per_second() == 50e6);
}

BOOST_AUTO_TEST_CASE(a_steady_rate_is_exact_however_often_it_is_noted) {
  for (const auto interval : {1ms, 100ms, 249ms, 250ms, 777ms, 4'000ms, 30'000ms}) {
    transfer_rate rate;
    for (int i = 0; i < 5'000; ++i) {
      rate.note(time_point(1h) + i * interval,
                static_cast<std::uint64_t>(i * interval.count()) * 1'000);
    }
    BOOST_TEST(rate.bytes_per_second() == 1e6, boost::test_tools::tolerance(1e-9));
  }
}

BOOST_AUTO_TEST_CASE(a_stall_shows_within_the_window_and_a_fast_past_is_forgotten) {
  transfer_rate rate;
  std::uint64_t done = 0;
  auto now = time_point(1h);
  for (int i = 0; i < 600; ++i, now += 100ms) {
    rate.note(now, done += 100 * megabyte);
  }
  BOOST_TEST(rate.bytes_per_second() == 1e9, boost::test_tools::tolerance(1e-6));
  for (const auto end = now + transfer_rate::window + 1s; now < end; now += 100ms) {
    rate.note(now, done);
  }
  BOOST_TEST(rate.bytes_per_second() == 0);
}

BOOST_AUTO_TEST_CASE(what_is_done_again_is_no_speed) {
  transfer_rate rate;
  rate.note(time_point(1h), 0);
  rate.note(time_point(1h) + 1s, 10 * megabyte);
  rate.note(time_point(1h) + 2s, 0);
  BOOST_TEST(rate.bytes_per_second() == 5e6);
}

BOOST_AUTO_TEST_CASE(a_transfer_says_how_much_how_fast_and_how_long) {
  BOOST_TEST(transfer_text(1'250 * megabyte, 4'000 * megabyte, 2.31e9)
             == "1.25 of 4.00 GB  2.31 GB/s  0:01 left");
  BOOST_TEST(transfer_text(0, 999 * megabyte, 0) == "0.00 of 999.00 MB");
  BOOST_TEST(transfer_text(2 * megabyte, 502 * megabyte, 5e6)
             == "2.00 of 502.00 MB  5.00 MB/s  1:40 left");
  BOOST_TEST(transfer_text(140'000 * megabyte, 140'000 * megabyte, 1.5e9)
             == "140.00 of 140.00 GB  1.50 GB/s  0:00 left");
  BOOST_TEST(transfer_text(0, 140'000 * megabyte, 10e6)
             == "0.00 of 140.00 GB  10.00 MB/s  3:53:20 left");
  BOOST_TEST(transfer_text(5, 3, 1e9).find("0:00 left") != std::string::npos); // more than promised
}
