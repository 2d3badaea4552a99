#include "tests/fault/fault_workload.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>

namespace vdist::testing {

namespace {

constexpr std::chrono::seconds replacement_patience{10};

bool ends_a_worker(const failpoint_rule& rule) {
  return rule.point.starts_with("worker.")
         && (rule.action == kill || rule.action == throws
             || rule.action == failpoint_action::kill9);
}

} // namespace

std::vector<generate_request> requests() {
  std::vector<generate_request> all;
  for (const std::size_t length : {3UL, 40UL, 17UL, 5UL, 29UL, 64UL}) {
    generate_request request;
    for (std::size_t i = 0; i < length; ++i) {
      request.token_ids.push_back(static_cast<token_id>((i * i + length) % 997));
    }
    request.params.max_tokens = static_cast<std::int32_t>(6 + length % 9);
    request.params.temperature = length % 2 == 0 ? 0.0F : 1.0F;
    request.params.seed = length;
    request.params.ignore_eos = true;
    all.push_back(request);
  }
  all[2].params.n = 2;
  all[3].params.repetition_penalty = 1.2F;
  return all;
}

std::string name_of(const layout& place, const failpoint_rule& rule) {
  return rule.point + (rule.action == kill ? " kill" : " throw") + " rank "
         + std::to_string(rule.rank.value_or(-1)) + " step "
         + std::to_string(rule.step.value_or(-1)) + " in " + std::to_string(place.tensor) + "x"
         + std::to_string(place.pipeline) + "x" + std::to_string(place.data);
}

const std::vector<heard>& undisturbed() {
  static const std::vector<heard> all =
      engine_driver(sim_config(), layout{}.overrides()).run(requests());
  return all;
}

engine_status check(const layout& place, const std::vector<failpoint_rule>& rules) {
  const auto where = name_of(place, rules.front());
  const auto& expected = undisturbed();
  BOOST_TEST_CONTEXT(where) {
    engine_driver driver(sim_config(), place.overrides());
    for (const auto& rule : rules) {
      BOOST_REQUIRE(driver.get().points().arm(rule));
    }
    const auto first = driver.run(requests());
    const auto second = driver.run(requests());
    BOOST_REQUIRE_EQUAL(first.size(), expected.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      BOOST_TEST(first[i] == expected[i], first[i] << " instead of " << expected[i]);
      BOOST_TEST(second[i] == expected[i],
                 "afterwards: " << second[i] << " instead of " << expected[i]);
    }
    const auto hits = driver.get().points().hits();
    for (std::size_t i = 0; i < rules.size(); ++i) {
      BOOST_TEST(hits[i] > 0U, "rule " << i << " was never hit");
    }
    // Who dies over the last step of all is replaced when the last request has ended already.
    const auto deaths =
        static_cast<std::uint64_t>(std::count_if(rules.begin(), rules.end(), ends_a_worker));
    const auto deadline = std::chrono::steady_clock::now() + replacement_patience;
    auto status = driver.settled();
    while (status.restarts < deaths && std::chrono::steady_clock::now() < deadline) {
      status = driver.settled();
    }
    BOOST_TEST(status.active_requests == 0U);
    BOOST_TEST(status.finished_requests == 2 * expected.size(), "exactly one end per request");
    return status;
  }
  return {};
}

failpoint_rule
worker_fault(const char* point, failpoint_action action, std::int32_t rank, std::int64_t step) {
  return {.point = point, .rank = rank, .step = step, .action = action};
}

} // namespace vdist::testing
