#include "runtime/metrics/engine_sample.hpp"

#include "tests/support/metrics_page.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>

using namespace vdist::metrics;
using namespace vdist::testing;

namespace {

std::set<std::pair<std::string, label_map>> series_of(const metrics_page& page) {
  std::set<std::pair<std::string, label_map>> all;
  for (const auto& family : page.families) {
    for (const auto& sample : family.samples) {
      all.emplace(sample.name, sample.labels);
    }
  }
  return all;
}

metrics_page page_of(const engine_sample& sample) {
  exposition page;
  describe(sample, page);
  return read_metrics(page.text());
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_samples)

BOOST_AUTO_TEST_CASE(what_a_cluster_has_lost_is_told_with_its_reason) {
  auto sample = sample_before_start("tiny", 256, 1);
  sample.replicas[0].workers = 2;
  sample.replicas[0].workers_configured = 4;
  sample.replicas[0].lost_reason = "worker slot 1 \"died\"\n";
  sample.reductions = 1;
  const auto page = page_of(sample);
  BOOST_TEST(page.violations.empty());
  const label_map where{{"model_name", "tiny"}, {"engine", "0"}};
  BOOST_TEST(page.value("vdist:workers", where).value() == 2.0);
  BOOST_TEST(page.value("vdist:workers_configured", where).value() == 4.0);
  auto lost = where;
  lost["reason"] = "worker slot 1 \"died\"\n";
  BOOST_TEST(page.value("vdist:workers_lost", lost).value() == 2.0);
  BOOST_TEST(page.value("vdist:reductions_total", {{"model_name", "tiny"}}).value() == 1.0);
}

BOOST_AUTO_TEST_CASE(the_page_has_all_series_before_anything_is_there) { // P-1
  request_metrics requests(256);
  recovery_metrics recoveries;
  step_times times;
  refusal_metrics refusals{};
  auto sample = sample_before_start("tiny", 256, 2);
  const auto before = page_of(sample);
  BOOST_TEST(before.violations.empty(), (before.violations.empty() ? "" : before.violations[0]));
  sample.replicas[1] = {.requests = &requests,
                        .recoveries = &recoveries,
                        .times = &times,
                        .state = "running",
                        .epoch = 3,
                        .kv_owned = 1,
                        .kv_total = 4};
  sample.refusals = &refusals;
  count(requests.finished_for(finished_reason::aborted), 2);
  recoveries.of(recovery_phase::stall).observe(std::chrono::milliseconds(3));
  const auto after = page_of(sample);
  BOOST_TEST(after.violations.empty());
  BOOST_TEST((series_of(before) == series_of(after)));
  const label_map second{{"model_name", "tiny"}, {"engine", "1"}};
  BOOST_TEST(after.value("vdist:epoch", second).value() == 3.0);
  BOOST_TEST(after.value("vllm:kv_cache_usage_perc", second).value() == 0.25);
  BOOST_TEST(after.value("vllm:request_success_total", {{"finished_reason", "abort"}}).value()
             == 2.0);
  BOOST_TEST(after.value("vdist:recovery_seconds_count", {{"phase", "stall"}}).value() == 1.0);
  BOOST_TEST(after.value("vdist:replica_state", {{"engine", "1"}}).value() == 1.0,
             "in one of them");
}

BOOST_AUTO_TEST_CASE(names_and_bounds_are_those_of_vllm) { // P-2
  const auto page = page_of(sample_before_start("tiny", 256, 1));
  const std::vector<std::pair<std::string, std::string>> names{
      {"vllm:num_requests_running", "gauge"},
      {"vllm:num_requests_waiting", "gauge"},
      {"vllm:kv_cache_usage_perc", "gauge"},
      {"vllm:prefix_cache_queries_total", "counter"},
      {"vllm:prefix_cache_hits_total", "counter"},
      {"vllm:num_preemptions_total", "counter"},
      {"vllm:prompt_tokens_total", "counter"},
      {"vllm:generation_tokens_total", "counter"},
      {"vllm:request_success_total", "counter"},
      {"vllm:iteration_tokens_total", "histogram"},
      {"vllm:time_to_first_token_seconds", "histogram"},
      {"vllm:inter_token_latency_seconds", "histogram"},
      {"vllm:request_time_per_output_token_seconds", "histogram"},
      {"vllm:e2e_request_latency_seconds", "histogram"},
      {"vllm:request_queue_time_seconds", "histogram"},
      {"vllm:request_prefill_time_seconds", "histogram"},
      {"vllm:request_decode_time_seconds", "histogram"},
      {"vllm:request_inference_time_seconds", "histogram"},
      {"vllm:request_prompt_tokens", "histogram"},
      {"vllm:request_generation_tokens", "histogram"}};
  for (const auto& [name, type] : names) {
    const auto* const family = page.family(name);
    BOOST_REQUIRE_MESSAGE(family != nullptr, name);
    BOOST_TEST(family->type == type, name);
    BOOST_TEST(family->samples.at(0).labels.contains("engine"), name);
    BOOST_TEST(family->samples.at(0).labels.at("model_name") == "tiny", name);
  }
  const auto bounds = [&page](std::string_view name) {
    const auto& samples = page.family(name)->samples;
    return std::count_if(
        samples.begin(), samples.end(), [](const auto& one) { return one.labels.contains("le"); });
  };
  BOOST_TEST(bounds("vllm:time_to_first_token_seconds") == 23);
  BOOST_TEST(bounds("vllm:inter_token_latency_seconds") == 20);
  BOOST_TEST(bounds("vllm:e2e_request_latency_seconds") == 22);
  BOOST_TEST(bounds("vllm:iteration_tokens_total") == 14);
  BOOST_TEST(page.value("vllm:time_to_first_token_seconds_bucket", {{"le", "0.001"}}).has_value());
  BOOST_TEST(page.value("vllm:request_prompt_tokens_bucket", {{"le", "200"}}).has_value());
}

BOOST_AUTO_TEST_CASE(a_replica_costs_a_bounded_part_of_the_page) {
  const auto bytes_of = [](std::int32_t replicas) {
    exposition page;
    describe(sample_before_start("a-model-with-a-name-of-some-length", 1 << 17, replicas), page);
    return page.text().size();
  };
  BOOST_TEST(bytes_of(9) - bytes_of(8) < 64U << 10U);
}

BOOST_AUTO_TEST_SUITE_END()
