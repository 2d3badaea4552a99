#include "runtime/base/fault_trace.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <thread>

using namespace vdist;
using namespace std::chrono_literals;

namespace {

struct trace_fixture {
  std::unique_ptr<fault_trace_table> table = std::make_unique<fault_trace_table>();
  fault_trace trace{*table};
  time_point start = time_point(5s);
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(fault_traces, trace_fixture)

BOOST_AUTO_TEST_CASE(records_nothing_before_it_is_started) { // T-1
  trace.note({.at_ns = 1});
  trace.note_tokens(start, 7);
  BOOST_TEST(!trace.is_started());
  trace.start(start);
  BOOST_TEST(trace.is_started());
  BOOST_TEST(trace.read().moments.empty());
  BOOST_TEST(trace.read().tokens.empty());
}

BOOST_AUTO_TEST_CASE(moments_come_back_by_time) {
  trace.start(start);
  const fault_moment late{fault_moment_kind::begun, 3, -1, 9, ns_of(start + 20ms)};
  const fault_moment early{fault_moment_kind::attached, 2, 5, 8, ns_of(start + 10ms)};
  trace.note(late);
  trace.note(early);
  const auto record = trace.read();
  BOOST_REQUIRE(record.moments.size() == 2U);
  BOOST_TEST((record.moments[0] == early));
  BOOST_TEST((record.moments[1] == late));
  BOOST_TEST(record.started_ns == ns_of(start));
}

BOOST_AUTO_TEST_CASE(tokens_are_summed_up_by_the_time_they_came) {
  trace.start(start);
  trace.note_tokens(start, 3);
  trace.note_tokens(start + 9ms, 4);
  trace.note_tokens(start + 31ms, 5);
  trace.note_tokens(start + 1h, 5); // T-3
  trace.note_tokens(start - 1h, 5);
  BOOST_TEST((trace.read().tokens == std::vector<std::uint32_t>{7, 0, 0, 5}));
}

BOOST_AUTO_TEST_CASE(a_full_log_keeps_what_it_has_and_says_what_is_lost) { // T-3
  trace.start(start);
  for (std::size_t i = 0; i < fault_trace_table::moments_max + 3; ++i) {
    trace.note({.at_ns = static_cast<std::int64_t>(i + 1)});
  }
  const auto record = trace.read();
  BOOST_TEST(record.moments.size() == fault_trace_table::moments_max);
  BOOST_TEST(record.moments.front().at_ns == 1);
  BOOST_TEST(record.lost == 3U);
}

BOOST_AUTO_TEST_CASE(a_new_start_forgets_all) {
  trace.start(start);
  trace.note({.at_ns = 1});
  trace.note_tokens(start, 3);
  trace.start(start + 1s);
  BOOST_TEST(trace.read().moments.empty());
  BOOST_TEST(trace.read().tokens.empty());
}

BOOST_AUTO_TEST_CASE(many_threads_lose_nothing) { // T-2
  trace.start(start);
  const auto write = [this] {
    for (int i = 0; i < 1000; ++i) {
      trace.note({.replica = 1, .slot = 2, .epoch = 3, .at_ns = 4});
      trace.note_tokens(start, 1);
    }
  };
  std::thread other(write);
  write();
  other.join();
  const auto record = trace.read();
  BOOST_TEST(record.moments.size() == 2000U);
  BOOST_TEST((record.moments.back() == fault_moment{fault_moment_kind::detected, 1, 2, 3, 4}));
  BOOST_TEST((record.tokens == std::vector<std::uint32_t>{2000}));
}

BOOST_AUTO_TEST_SUITE_END()
