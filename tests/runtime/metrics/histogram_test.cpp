#include "runtime/metrics/histogram.hpp"

#include "runtime/metrics/bounds.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <thread>

using namespace vdist::metrics;
using namespace std::chrono_literals;

namespace {

constexpr std::array tenths{0.1, 0.2, 0.4};

} // namespace

BOOST_AUTO_TEST_SUITE(histograms)

BOOST_AUTO_TEST_CASE(a_bound_belongs_to_its_bucket) { // H-1
  auto times = histogram::of_seconds(tenths);
  for (const auto time : {0ns, 100'000'000ns, 100'000'001ns, 200'000'000ns, 400'000'001ns}) {
    times.observe(time);
  }
  const auto now = times.snapshot();
  BOOST_TEST(now.counts == (std::vector<std::uint64_t>{2, 2, 0, 1}),
             boost::test_tools::per_element());
  BOOST_TEST(now.count() == 5U);
  BOOST_TEST(now.sum == 0.800000002, boost::test_tools::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(every_bound_of_ours_takes_its_own_value) { // H-1: none is off by a rounding
  for (const auto& bounds : {std::span<const double>(first_token_bounds),
                             std::span<const double>(token_gap_bounds),
                             std::span<const double>(request_time_bounds),
                             std::span<const double>(recovery_bounds),
                             std::span<const double>(admission_bounds)}) {
    auto times = histogram::of_seconds(bounds);
    for (const auto bound : bounds) {
      times.observe(std::chrono::nanoseconds(std::llround(bound * 1e9)));
    }
    const auto now = times.snapshot();
    BOOST_TEST(std::is_sorted(bounds.begin(), bounds.end()));
    BOOST_TEST(now.counts.back() == 0U);
    BOOST_TEST(
        std::all_of(now.counts.begin(), now.counts.end() - 1, [](auto n) { return n == 1; }));
  }
}

BOOST_AUTO_TEST_CASE(a_time_that_ran_backwards_counts_as_none) {
  auto times = histogram::of_seconds(tenths);
  times.observe(-5ns);
  BOOST_TEST(times.snapshot().counts[0] == 1U);
  BOOST_TEST(times.snapshot().sum == 0.0);
}

BOOST_AUTO_TEST_CASE(counts_have_bounds_of_one_two_five) {
  BOOST_TEST(token_count_bounds(300) == (std::vector<double>{1, 2, 5, 10, 20, 50, 100, 200}),
             boost::test_tools::per_element());
  BOOST_TEST(token_count_bounds(1).size() == 1U);
  const auto bounds = token_count_bounds(20);
  auto tokens = histogram::of_counts(bounds);
  tokens.observe(std::uint64_t{20});
  tokens.observe(std::uint64_t{21});
  const auto now = tokens.snapshot();
  BOOST_TEST(now.counts[4] == 1U);
  BOOST_TEST(now.counts[5] == 1U);
  BOOST_TEST(now.sum == 41.0);
}

BOOST_AUTO_TEST_CASE(quantiles_are_those_of_prometheus) {
  auto times = histogram::of_seconds(tenths);
  BOOST_TEST(!times.snapshot().quantile(0.5).has_value());
  for (int i = 0; i < 10; ++i) {
    times.observe(150ms);
  }
  BOOST_TEST(*times.snapshot().quantile(0.5) == 0.15, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(*times.snapshot().quantile(1.0) == 0.2, boost::test_tools::tolerance(1e-9));
  for (int i = 0; i < 10; ++i) {
    times.observe(7s);
  }
  BOOST_TEST(*times.snapshot().quantile(0.99) == 0.4, "what is above all bounds is the last one");
  BOOST_TEST(*times.snapshot().quantile(0.25) == 0.15, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(snapshots_are_added_and_subtracted) {
  auto times = histogram::of_seconds(tenths);
  times.observe(50ms);
  const auto before = times.snapshot();
  times.observe(300ms);
  auto later = times.snapshot().since(before);
  BOOST_TEST(later.count() == 1U);
  BOOST_TEST(later.sum == 0.3, boost::test_tools::tolerance(1e-9));
  later.add(before);
  BOOST_TEST(later.counts == times.snapshot().counts, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(nothing_is_lost_or_falls_while_many_observe) { // H-2, H-3
  constexpr std::uint64_t each = 20000;
  auto times = histogram::of_seconds(tenths);
  std::array<std::thread, 3> writers;
  for (std::size_t i = 0; i < writers.size(); ++i) {
    writers[i] = std::thread([&times, i] {
      for (std::uint64_t n = 0; n < each; ++n) {
        times.observe(std::chrono::milliseconds(100 * (i + 1)));
      }
    });
  }
  std::uint64_t seen = 0;
  bool has_fallen = false;
  while (seen < each * writers.size()) {
    const auto now = times.snapshot().count();
    has_fallen = has_fallen || now < seen;
    seen = now;
  }
  for (auto& writer : writers) {
    writer.join();
  }
  BOOST_TEST(!has_fallen);
  BOOST_TEST(times.snapshot().counts == (std::vector<std::uint64_t>{each, each, each, 0}),
             boost::test_tools::per_element());
  BOOST_TEST(times.snapshot().sum == 0.6 * each, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_SUITE_END()
