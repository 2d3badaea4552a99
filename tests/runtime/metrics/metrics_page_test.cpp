// The reader that judges pages of metrics has to see what is wrong with them.
#include "tests/support/metrics_page.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

using namespace vdist::testing;

namespace {

const std::string counter_head = "# HELP a_total A.\n# TYPE a_total counter\n";
const std::string histogram_head = "# HELP h H.\n# TYPE h histogram\n";

bool is_refused(const std::string& text) {
  return !read_metrics(text).violations.empty();
}

} // namespace

BOOST_AUTO_TEST_SUITE(metrics_pages)

BOOST_AUTO_TEST_CASE(a_good_page_is_read) {
  const auto page = read_metrics(
      counter_head + "a_total{x=\"1\",y=\"q\\\"\"} 3\na_total{x=\"2\",y=\"\"} 4.5e3\n"
      + histogram_head + "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 7\nh_count 3\n");
  BOOST_TEST(page.violations.empty());
  BOOST_TEST(page.value("a_total").value() == 4503.0);
  BOOST_TEST(page.value("a_total", {{"x", "2"}}).value() == 4500.0);
  BOOST_TEST(!page.value("a_total", {{"x", "3"}}).has_value());
  BOOST_TEST(page.value("h_count").value() == 3.0);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_seen) {
  for (const auto& text : {
           std::string("a_total 1\n"),                                  // no family
           counter_head + "a_total 1",                                  // no end
           counter_head + "a_total 1\n\n",                              // an empty line
           counter_head + "a_total\n",                                  // no value
           counter_head + "a_total one\n",                              // the same
           counter_head + "a_total nan\n",                              // NaN has one name …
           counter_head + "a_total NaN\n",                              // … and is no count
           counter_head + "a_total -1\n",                               // the same
           counter_head + "a_total 1 1700000000\n",                     // a time stamp
           counter_head + "a_total 1\na_total 2\n",                     // twice
           counter_head + "a_total{x=\"1\"} 1\na_total{y=\"1\"} 2\n",   // different labels
           counter_head + "a_total{x=\"1\",x=\"2\"} 1\n",               // a label twice
           counter_head + "a_total{__x=\"1\"} 1\n",                     // a name that is reserved
           counter_head + "a_total{x=\"\\t\"} 1\n",                     // no such escape
           counter_head + "a_total{x=\"1\" 1\n",                        // no end of labels
           counter_head + "b_total 1\n",                                // of another family
           counter_head,                                                // no sample
           counter_head + "a_total 1\n" + counter_head + "a_total 1\n", // a family twice
           std::string("# TYPE a_total counter\na_total 1\n"),          // no help
           std::string("# HELP a_total A.\na_total 1\n"),               // no type
           std::string("# HELP a A.\n# TYPE a counter\na 1\n"),         // no _total
           std::string("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n"),
           histogram_head + "h_bucket{le=\"1\"} 2\nh_sum 7\nh_count 2\n", // no +Inf
           histogram_head + "h_bucket{le=\"+Inf\"} 3\nh_sum 7\nh_count 2\n",
           histogram_head + "h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_sum 7\nh_count 2\n",
           histogram_head
               + "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 7\n"
                 "h_count 2\n",
           histogram_head + "h_bucket{le=\"+Inf\"} 2\nh_count 2\n", // no sum
           histogram_head + "h_bucket{le=\"+Inf\"} 0\nh_sum 1\nh_count 0\n",
           histogram_head + "h_bucket 2\nh_sum 7\nh_count 2\n", // no le
           histogram_head + "h 2\n",
       }) {
    BOOST_TEST(is_refused(text), text);
  }
}

BOOST_AUTO_TEST_CASE(what_falls_or_goes_is_seen) {
  const auto before = read_metrics(counter_head + "a_total 3\n");
  BOOST_TEST(falls(before, read_metrics(counter_head + "a_total 3\n")).empty());
  BOOST_TEST(falls(before, read_metrics(counter_head + "a_total 2\n")).size() == 1U);
  BOOST_TEST(falls(before, read_metrics("# HELP b B.\n# TYPE b gauge\nb 1\n")).size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
