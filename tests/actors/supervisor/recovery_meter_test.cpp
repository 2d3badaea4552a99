#include "actors/supervisor/recovery_meter.hpp"

#include <boost/test/unit_test.hpp>

#include <map>

using namespace vdist;
using namespace vdist::supervisor;
using namespace std::chrono_literals;
using metrics::recovery_phase;

namespace {

struct meter_fixture {
  [[nodiscard]] time_point at(std::chrono::milliseconds when) const {
    return time_point(1h) + when;
  }

  void mark(recovery_point what, std::chrono::milliseconds when, std::uint32_t number = 2) {
    meter.note({.now = epoch(number), .what = what, .at = at(when)}, busy);
  }

  void tokens(std::chrono::milliseconds when) { meter.note_tokens(at(when)); }

  /// Milliseconds, of all that were observed; -1: none.
  [[nodiscard]] double of(recovery_phase phase) const {
    const auto now = into.of(phase).snapshot();
    return now.count() == 0 ? -1 : now.sum * 1000;
  }

  [[nodiscard]] std::uint64_t count(recovery_phase phase) const {
    return into.of(phase).snapshot().count();
  }

  std::optional<time_point> busy = time_point(1h);
  metrics::recovery_metrics into;
  recovery_meter meter{into};
};

const auto near = boost::test_tools::tolerance(1e-6);

} // namespace

BOOST_AUTO_TEST_SUITE(recovery_meters)

BOOST_FIXTURE_TEST_CASE(parts_add_up_to_the_stall, meter_fixture) { // B-1, B-2
  tokens(100ms);
  mark(recovery_point::detected, 103ms);
  mark(recovery_point::fenced, 104ms);
  mark(recovery_point::spawned, 105ms); // before the survivors have left
  mark(recovery_point::quiesced, 106ms);
  mark(recovery_point::quiesced, 109ms); // the last one counts
  mark(recovery_point::attached, 130ms);
  mark(recovery_point::begun, 131ms);
  tokens(136ms);
  tokens(900ms);
  BOOST_TEST(of(recovery_phase::detection) == 3.0, near);
  BOOST_TEST(of(recovery_phase::fence) == 1.0, near);
  BOOST_TEST(of(recovery_phase::quiesce) == 5.0, near);
  BOOST_TEST(of(recovery_phase::respawn) == 0.0, "hidden behind the survivors");
  BOOST_TEST(of(recovery_phase::rebuild) == 21.0, near);
  BOOST_TEST(of(recovery_phase::restore) == 1.0, near);
  BOOST_TEST(of(recovery_phase::first_token) == 5.0, near);
  BOOST_TEST(of(recovery_phase::stall) == 36.0, near);
  BOOST_TEST(into.recoveries == 1U);
  BOOST_TEST(count(recovery_phase::stall) == 1U);
}

BOOST_FIXTURE_TEST_CASE(a_start_is_no_recovery, meter_fixture) {
  mark(recovery_point::spawned, 0ms, 1);
  mark(recovery_point::attached, 50ms, 1);
  mark(recovery_point::begun, 51ms, 1);
  tokens(60ms);
  BOOST_TEST(into.recoveries == 0U);
  BOOST_TEST(of(recovery_phase::stall) == -1.0);
}

BOOST_FIXTURE_TEST_CASE(nobody_waits_for_what_was_not_asked, meter_fixture) { // B-3
  tokens(0ms);
  busy = std::nullopt;
  mark(recovery_point::detected, 5000ms);
  mark(recovery_point::fenced, 5001ms);
  mark(recovery_point::begun, 5002ms);
  tokens(9000ms);
  BOOST_TEST(into.recoveries == 1U);
  BOOST_TEST(of(recovery_phase::fence) == 1.0, near);
  BOOST_TEST(of(recovery_phase::detection) == -1.0);
  BOOST_TEST(of(recovery_phase::stall) == -1.0);
  busy = at(9990ms); // the first token of a request that came then is what is missing
  mark(recovery_point::detected, 9995ms, 3);
  mark(recovery_point::begun, 9996ms, 3);
  tokens(9999ms);
  BOOST_TEST(of(recovery_phase::detection) == 5.0, near);
  BOOST_TEST(of(recovery_phase::stall) == 9.0, near);
}

BOOST_FIXTURE_TEST_CASE(a_fault_in_a_recovery_prolongs_it, meter_fixture) { // B-1
  tokens(100ms);
  mark(recovery_point::detected, 101ms, 2);
  mark(recovery_point::fenced, 102ms, 2);
  mark(recovery_point::detected, 110ms, 3); // before it began
  mark(recovery_point::fenced, 111ms, 3);
  mark(recovery_point::begun, 115ms, 3);
  mark(recovery_point::detected, 120ms, 4); // before its first tokens
  mark(recovery_point::fenced, 121ms, 4);
  mark(recovery_point::begun, 130ms, 4);
  tokens(140ms);
  BOOST_TEST(into.recoveries == 2U);
  BOOST_TEST(count(recovery_phase::detection) == 1U);
  BOOST_TEST(of(recovery_phase::stall) == 40.0, near);
  BOOST_TEST(of(recovery_phase::first_token) == 10.0, near);
  BOOST_TEST(count(recovery_phase::fence) == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_second_death_in_an_epoch_changes_nothing, meter_fixture) {
  tokens(100ms);
  mark(recovery_point::detected, 101ms);
  mark(recovery_point::detected, 105ms);
  mark(recovery_point::fenced, 106ms);
  mark(recovery_point::begun, 110ms);
  tokens(111ms);
  BOOST_TEST(count(recovery_phase::detection) == 1U);
  BOOST_TEST(of(recovery_phase::fence) == 5.0, near);
}

BOOST_FIXTURE_TEST_CASE(tokens_that_are_faster_than_the_mark_end_it, meter_fixture) {
  tokens(100ms);
  mark(recovery_point::detected, 101ms);
  tokens(102ms); // of a step that was complete
  mark(recovery_point::quiesced, 103ms);
  tokens(120ms); // of the new epoch
  mark(recovery_point::begun, 121ms);
  tokens(500ms);
  BOOST_TEST(count(recovery_phase::stall) == 1U);
  BOOST_TEST(of(recovery_phase::stall) == 19.0, near);
  BOOST_TEST(of(recovery_phase::first_token) == 0.0);
}

BOOST_FIXTURE_TEST_CASE(a_replica_that_is_given_up_has_no_stall, meter_fixture) {
  tokens(100ms);
  mark(recovery_point::detected, 101ms);
  mark(recovery_point::given_up, 102ms);
  tokens(200ms);
  BOOST_TEST(into.recoveries == 0U);
  BOOST_TEST(of(recovery_phase::stall) == -1.0);
}

BOOST_AUTO_TEST_SUITE_END()
