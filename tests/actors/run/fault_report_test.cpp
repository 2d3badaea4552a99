#include "actors/run/fault_report.hpp"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>

using namespace vdist;
using namespace vdist::actors;

namespace {

using act = failpoint_action;
using kind = fault_moment_kind;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t start = 1000 * ms;

failpoint_hit hit(std::int64_t at, act action, std::int32_t replica = 0, std::int32_t rank = 1) {
  return {.at_ns = start + at * ms, .action = action, .replica = replica, .rank = rank, .step = 40};
}

fault_moment moment(std::int64_t at, kind what, std::int32_t slot = -1, std::int32_t replica = 0) {
  return {.what = what, .replica = replica, .slot = slot, .epoch = 2, .at_ns = start + at * ms};
}

/// Worker 1 dies at 10; the others are idle at 14 and 15, it is back at 30, all go on at 33.
fault_record one_recovery() {
  return {.started_ns = start,
          .moments = {moment(5, kind::first_tokens),
                      moment(11, kind::detected, 1),
                      moment(13, kind::fenced),
                      moment(14, kind::quiesced, 0),
                      moment(15, kind::quiesced, 2),
                      moment(18, kind::spawned, 1),
                      moment(30, kind::attached, 1),
                      moment(33, kind::begun),
                      moment(40, kind::first_tokens)},
          .tokens = {},
          .lost = 0};
}

const std::vector<armed_failpoint> armed{
    {.rule = {.point = "worker.step_begin", .rank = 1, .action = act::kill9}, .hits = 1}};

fault_report passed() {
  return {.script = "kills.toml",
          .rows = rows_of(std::vector{hit(10, act::kill9)}, armed, one_recovery()),
          .hits = 1,
          .restarts = 1,
          .comparison = api::results_comparison{.compared = 16},
          .failures = {}};
}

} // namespace

BOOST_AUTO_TEST_SUITE(fault_reports)

BOOST_AUTO_TEST_CASE(a_row_has_every_part_of_its_recovery) {
  const auto rows = rows_of(std::vector{hit(10, act::kill9)}, armed, one_recovery());
  BOOST_REQUIRE(rows.size() == 1U);
  const auto& row = rows[0];
  BOOST_TEST(row.fault == 1U);
  BOOST_TEST(row.action == "kill9");
  BOOST_TEST(row.point == "worker.step_begin");
  BOOST_TEST(row.rank == 1);
  BOOST_TEST(row.at_ms == 10);
  BOOST_TEST(row.detection_ms.value() == 1);
  BOOST_TEST(row.fence_ms.value() == 2);
  BOOST_TEST(row.quiesce_ms.value() == 2);
  BOOST_TEST(row.respawn_ms.value() == 5);
  BOOST_TEST(row.attach_ms.value() == 12);
  BOOST_TEST(row.rebuild_ms.value() == 3);
  BOOST_TEST(row.first_token_ms.value() == 7);
  BOOST_TEST(row.stall_ms.value() == 30);
}

BOOST_AUTO_TEST_CASE(a_row_says_when_its_worker_had_a_spare_again) {
  auto record = one_recovery();
  BOOST_TEST(!rows_of(std::vector{hit(10, act::kill9)}, armed, record)[0].spare_ms.has_value());
  for (const auto& one : {moment(31, kind::spare_ready, 1), // not of this recovery
                          moment(50, kind::spare_ready, 0),
                          moment(70, kind::spare_ready, 1, 1),
                          moment(230, kind::spare_ready, 1),
                          moment(900, kind::spare_ready, 1)}) {
    record.moments.push_back(one);
  }
  auto report = passed();
  report.rows = rows_of(std::vector{hit(10, act::kill9)}, armed, record);
  BOOST_TEST(report.rows[0].spare_ms.value() == 220);
  BOOST_TEST(to_table(report).find("spares     ready again 220.0 ms after a fault at most")
             != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_was_not_observed_is_absent) {
  const auto nothing = rows_of(std::vector{hit(50, act::kill9)}, armed, one_recovery());
  BOOST_TEST(!nothing[0].detection_ms.has_value());
  BOOST_TEST(!nothing[0].stall_ms.has_value());
  const auto other = rows_of(std::vector{hit(10, act::kill9, 1)}, armed, one_recovery());
  BOOST_TEST(!other[0].stall_ms.has_value()); // of another replica
  auto record = one_recovery();
  std::erase_if(record.moments, [](const auto& one) { return one.what == kind::detected; });
  const auto actor = rows_of(std::vector{hit(10, act::kill_actor)}, armed, record);
  BOOST_TEST(actor[0].detection_ms.value() == 3); // the fence says that it was known
  BOOST_TEST(!actor[0].fence_ms.has_value());
  auto ended = one_recovery();
  ended.moments.insert(ended.moments.begin() + 3, moment(14, kind::given_up));
  BOOST_TEST(!rows_of(std::vector{hit(10, act::kill9)}, armed, ended)[0].stall_ms.has_value());
}

BOOST_AUTO_TEST_CASE(a_fault_before_the_first_tokens_makes_the_stall_longer) {
  auto record = one_recovery();
  record.moments.pop_back();
  for (const auto& one : {moment(35, kind::detected, 2),
                          moment(36, kind::fenced),
                          moment(50, kind::begun),
                          moment(60, kind::first_tokens)}) {
    record.moments.push_back(one);
  }
  const std::vector hits{hit(10, act::kill9), hit(34, act::kill9, 0, 2)};
  const auto rows = rows_of(hits, armed, record);
  BOOST_TEST(rows[0].rebuild_ms.value() == 3);
  BOOST_TEST(!rows[0].first_token_ms.has_value());
  BOOST_TEST(rows[0].stall_ms.value() == 50);
  BOOST_TEST(rows[1].stall_ms.value() == 26);
  BOOST_TEST(rows[1].first_token_ms.value() == 10);
}

BOOST_AUTO_TEST_CASE(a_delay_has_no_recovery_of_others) {
  const std::vector hits{hit(8, act::delay), hit(10, act::kill9)};
  const auto rows = rows_of(hits, armed, one_recovery());
  BOOST_TEST(!rows[0].stall_ms.has_value());
  BOOST_TEST(rows[1].stall_ms.has_value());
  const std::vector stops{hit(6, act::stop), hit(9, act::stop)}; // the first one was over in time
  BOOST_TEST(!rows_of(stops, armed, one_recovery())[0].stall_ms.has_value());
  BOOST_TEST(rows_of(stops, armed, one_recovery())[1].stall_ms.value() == 31);
  auto vault = hit(8, act::kill9);
  vault.replica = -1;
  const auto of_vault = rows_of(std::vector{vault, hit(10, act::kill9)}, armed, one_recovery());
  BOOST_TEST(!of_vault[0].stall_ms.has_value());
  BOOST_TEST(of_vault[1].stall_ms.has_value());
  BOOST_TEST(rows_of(std::vector{vault}, armed, one_recovery())[0].stall_ms.value() == 32);
  const auto alone = rows_of(std::vector{hit(8, act::drop)}, armed, one_recovery());
  BOOST_TEST(alone[0].stall_ms.value() == 32); // nobody else can have been the cause
}

BOOST_AUTO_TEST_CASE(expectations_that_are_met_say_nothing) {
  BOOST_TEST(failures_of(passed(), {.stall_ms_max = 30, .restarts_max = 1}, armed).empty());
}

BOOST_AUTO_TEST_CASE(each_expectation_fails_with_its_numbers) {
  auto report = passed();
  report.comparison->lost = 1;
  report.comparison->altered = 2;
  report.comparison->doubled = 3;
  report.prefilled_again = 12;
  std::vector<armed_failpoint> rules = armed;
  rules.push_back({.rule = {.point = "worker.load"}, .hits = 0});
  const std::vector<std::string> expected{"fault 2 at worker.load was never hit",
                                          "1 streams lost, expected 0",
                                          "2 streams altered, expected 0",
                                          "3 streams doubled, expected 4",
                                          "fault 1: a stall of 30.0 ms, expected 29 ms at most",
                                          "1 worker restarts, expected 0 at most",
                                          "12 tokens prefilled again, expected 11 at most"};
  const auto failures =
      failures_of(report,
                  {.doubled = 4, .stall_ms_max = 29, .restarts_max = 0, .prefilled_again_max = 11},
                  rules);
  BOOST_TEST(failures == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_table_ends_with_the_verdict) {
  const auto text = to_table(passed());
  BOOST_TEST(text.find("first token") != std::string::npos);
  BOOST_TEST(text.find("kill9") != std::string::npos);
  BOOST_TEST(text.ends_with(
      "  faults     0 lost, 0 altered, 0 doubled of 16 streams; 1 injection, 1 worker restart; "
      "tokens prefilled again: 0\n"));
  auto many = passed();
  many.rows.assign(200, many.rows.front());
  many.hits = 1000;
  BOOST_TEST(to_table(many).find("… and 940 more") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_json_says_all) {
  auto report = passed();
  report.script = "a \"b\"\xff.toml";
  report.rows[0].fence_ms.reset();
  const auto json = nlohmann::json::parse(to_json(report));
  BOOST_TEST(json.at("passed") == true);
  BOOST_TEST(json.at("streams").at("compared") == 16);
  BOOST_TEST(json.at("rows").size() == 1U);
  const auto& row = json.at("rows")[0];
  BOOST_TEST(row.at("stall_ms") == 30.0);
  BOOST_TEST(row.at("fence_ms").is_null());
  report.failures = {"x"};
  BOOST_TEST(nlohmann::json::parse(to_json(report)).at("passed") == false);
}

BOOST_AUTO_TEST_SUITE_END()
