#include "runtime/metrics/exposition.hpp"

#include "tests/support/metrics_page.hpp"

#include <boost/test/unit_test.hpp>

#include <array>

using namespace vdist::metrics;
using namespace vdist::testing;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(expositions)

BOOST_AUTO_TEST_CASE(families_stand_together_in_the_order_in_which_they_came) { // E-1
  exposition page;
  constexpr family_name steps{"vdist:steps_total", "Steps."};
  page.counter(steps, {{"engine", "0"}}, std::uint64_t{3});
  page.gauge({"vdist:epoch", "Epoch."}, {{"engine", "0"}}, 1.5);
  page.counter(steps, {{"engine", "1"}}, std::uint64_t{12345678901234});
  BOOST_TEST(page.text()
             == "# HELP vdist:steps_total Steps.\n"
                "# TYPE vdist:steps_total counter\n"
                "vdist:steps_total{engine=\"0\"} 3\n"
                "vdist:steps_total{engine=\"1\"} 12345678901234\n"
                "# HELP vdist:epoch Epoch.\n"
                "# TYPE vdist:epoch gauge\n"
                "vdist:epoch{engine=\"0\"} 1.5\n");
}

BOOST_AUTO_TEST_CASE(a_histogram_is_cumulative_up_to_its_count) { // E-2
  constexpr std::array bounds{0.1, 2.5};
  auto times = histogram::of_seconds(bounds);
  times.observe(50ms);
  times.observe(1s);
  times.observe(1min);
  exposition page;
  page.histogram({"wait_seconds", "Waits."}, {}, times.snapshot());
  BOOST_TEST(page.text()
             == "# HELP wait_seconds Waits.\n"
                "# TYPE wait_seconds histogram\n"
                "wait_seconds_count 3\n"
                "wait_seconds_sum 61.05\n"
                "wait_seconds_bucket{le=\"0.1\"} 1\n"
                "wait_seconds_bucket{le=\"2.5\"} 2\n"
                "wait_seconds_bucket{le=\"+Inf\"} 3\n");
}

BOOST_AUTO_TEST_CASE(labels_are_escaped) {
  exposition page;
  page.gauge({"g", "G."}, {{"model_name", "a\"b\\c\nd, {}"}}, 1);
  const auto read = read_metrics(page.text());
  BOOST_TEST(read.violations.empty());
  BOOST_TEST(read.families.at(0).samples.at(0).labels.at("model_name") == "a\"b\\c\nd, {}");
}

BOOST_AUTO_TEST_SUITE_END()
