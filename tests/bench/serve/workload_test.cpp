// What a load asks for, and the figures that come of its records.
#include "tests/bench/serve/workload.hpp"

#include "tests/bench/serve/figures.hpp"
#include "tests/bench/serve/report.hpp"
#include "tests/bench/serve/request_text.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/test_data.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::bench::serve;
using namespace std::chrono_literals;
namespace tt = boost::test_tools;

namespace {

workload made_of(const std::string& name, std::size_t requests, std::uint64_t seed = 0) {
  auto load = make_workload({.name = name, .requests = requests, .seed = seed, .trace_folder = {}});
  BOOST_REQUIRE_MESSAGE(load.has_value(), (load ? "" : load.error().context));
  return std::move(*load);
}

double seconds(duration time) {
  return std::chrono::duration<double>(time).count();
}

/// An ok stream: due at `due_ms`, tokens at `first_ms` and every `gap_ms` behind it.
request_record
stream_of(double due_ms, double begun_ms, double first_ms, double gap_ms, int tokens) {
  const auto at = [](double ms) {
    return time_point{}
           + std::chrono::duration_cast<duration>(std::chrono::duration<double, std::milli>(ms));
  };
  request_record made{.due = at(due_ms), .begun = at(begun_ms), .input_tokens = 10};
  made.answer = {.how = outcome::ok,
                 .status = 200,
                 .events = tokens,
                 .output_tokens = tokens,
                 .input_tokens = 12};
  made.answer.first = at(first_ms);
  made.answer.last = at(first_ms + gap_ms * (tokens - 1));
  made.answer.gaps.assign(static_cast<std::size_t>(tokens - 1), {gap_ms, 1});
  made.ended = *made.answer.last;
  return made;
}

} // namespace

BOOST_AUTO_TEST_SUITE(workloads)

BOOST_AUTO_TEST_CASE(names_give_lengths) {
  const auto fixed = made_of("random:1024/128", 3);
  BOOST_TEST(fixed.requests.size() == 3U);
  BOOST_TEST(fixed.requests[2].input_tokens == 1024);
  BOOST_TEST(fixed.requests[2].output_tokens == 128);
  BOOST_TEST(made_of("random:1/1", 0).requests.size() == requests_default);
  BOOST_TEST(made_of("none", 5).requests.empty());
  for (const std::string name : {"",
                                 "random",
                                 "random:",
                                 "random:1",
                                 "random:0/1",
                                 "random:1/x",
                                 "random:1/-1",
                                 "random:1/99999999999",
                                 "sharegtp"}) {
    const auto refused = make_workload({.name = name});
    BOOST_REQUIRE(!refused.has_value());
    BOOST_TEST((refused.error().code == errc::invalid_argument), name);
  }
}

BOOST_AUTO_TEST_CASE(lengths_like_sharegpts_are_seeded_and_bounded) { // W-1
  const auto one = made_of("sharegpt", 20000, 1);
  const auto same = made_of("sharegpt", 20000, 1);
  const auto other = made_of("sharegpt", 20000, 2);
  double input = 0;
  double output = 0;
  std::size_t differing = 0;
  for (std::size_t i = 0; i < one.requests.size(); ++i) {
    BOOST_REQUIRE(one.requests[i].input_tokens == same.requests[i].input_tokens);
    differing += one.requests[i].input_tokens != other.requests[i].input_tokens ? 1 : 0;
    input += one.requests[i].input_tokens;
    output += one.requests[i].output_tokens;
    BOOST_REQUIRE(one.requests[i].input_tokens >= 4);
    BOOST_REQUIRE(one.requests[i].output_tokens <= 1024);
  }
  BOOST_TEST(differing > 15000U);
  // What the bounds leave of the means 161 and 338.
  BOOST_TEST(input / 20000 == 136, tt::tolerance(0.03));
  BOOST_TEST(output / 20000 == 277, tt::tolerance(0.03));
}

BOOST_AUTO_TEST_CASE(arrivals_are_a_poisson_process) { // W-1
  auto load = made_of("random:1/1", 20000);
  auto same = load;
  arrive_by_poisson(load, 100, 7);
  arrive_by_poisson(same, 100, 7);
  double sum = 0;
  double squares = 0;
  double before = 0;
  std::size_t long_waits = 0;
  for (std::size_t i = 0; i < load.requests.size(); ++i) {
    BOOST_REQUIRE((load.requests[i].at == same.requests[i].at));
    const double gap = seconds(load.requests[i].at) - before;
    before = seconds(load.requests[i].at);
    BOOST_REQUIRE(gap >= 0);
    sum += gap;
    squares += gap * gap;
    long_waits += gap > 0.02 ? 1 : 0; // twice the mean: e^-2 of them
  }
  const double mean = sum / 20000;
  BOOST_TEST(mean == 0.01, tt::tolerance(0.03));
  BOOST_TEST(std::sqrt(squares / 20000 - mean * mean) == 0.01, tt::tolerance(0.05));
  BOOST_TEST(static_cast<double>(long_waits) / 20000 == std::exp(-2), tt::tolerance(0.05));
  arrive_by_poisson(load, std::numeric_limits<double>::infinity(), 7);
  BOOST_TEST((load.requests.back().at == duration(0)));
}

BOOST_AUTO_TEST_CASE(an_azure_trace_is_read_and_bad_lines_are_counted) { // W-2, W-3
  const auto load = read_azure_trace("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                                     "2023-11-16 23:59:59.5,374,44\r\n"
                                     "2023-11-17 00:00:01.2500000,396,109\n"
                                     "2023-11-17 00:00:00,1,2\n"
                                     "2023-02-30 00:00:00,1,2\n"
                                     "yesterday,1,2\n"
                                     "2023-11-17 00:00:01,0,2\n"
                                     "2023-11-17 00:00:01,5\n"
                                     "2023-11-17 00:00:01,5,6,7\n"
                                     "2023-11-17 00:00:01x,5,6\n"
                                     "\n");
  BOOST_REQUIRE(load.has_value());
  BOOST_TEST(load->lines_bad == 6U);
  BOOST_REQUIRE(load->requests.size() == 3U);
  BOOST_TEST((load->requests[0].at == duration(0)));
  BOOST_TEST(seconds(load->requests[1].at) == 0.5, tt::tolerance(1e-6));
  BOOST_TEST(load->requests[1].output_tokens == 2);
  BOOST_TEST(seconds(load->requests[2].at) == 1.75, tt::tolerance(1e-6));
  BOOST_TEST((read_azure_trace("TIMESTAMP,ContextTokens,GeneratedTokens\n").error().code
              == errc::corrupt));
  BOOST_TEST((read_azure_trace("a,b,c\n").error().code == errc::corrupt));
}

BOOST_AUTO_TEST_CASE(a_jsonl_trace_is_read_and_bad_lines_are_counted) { // W-2, W-3
  const auto load = read_jsonl_trace(
      R"({"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]})"
      "\n"
      R"({"timestamp": 1000.5, "prompt": "Once", "max_tokens": 9})"
      "\n{\n[]\n"
      R"({"input_length": 1, "output_length": 1})"
      "\n"
      R"({"timestamp": -1, "input_length": 1, "output_length": 1})"
      "\n"
      R"({"timestamp": "1", "input_length": 1, "output_length": 1})"
      "\n"
      R"({"timestamp": 1, "input_length": 1.5, "output_length": 1})"
      "\n"
      R"({"timestamp": 1, "prompt": "", "output_length": 1})"
      "\n");
  BOOST_REQUIRE(load.has_value());
  BOOST_TEST(load->lines_bad == 7U);
  BOOST_REQUIRE(load->requests.size() == 2U);
  BOOST_TEST(load->requests[0].text == "Once");
  BOOST_TEST(load->requests[0].output_tokens == 9);
  BOOST_TEST(load->requests[1].input_tokens == 6758);
  BOOST_TEST(seconds(load->requests[1].at) == 1.9995, tt::tolerance(1e-6));
  BOOST_TEST((read_jsonl_trace("").error().code == errc::corrupt));
}

BOOST_AUTO_TEST_CASE(a_file_is_named_where_it_is_missing_or_bad) {
  const testing::temporary_folder folder;
  const auto missing = make_workload({.name = (folder.path() / "a.jsonl").string()});
  BOOST_TEST((missing.error().code == errc::not_found));
  const auto path = folder.write("b.jsonl", "nothing\n").string();
  const auto bad = make_workload({.name = path});
  BOOST_TEST((bad.error().code == errc::corrupt));
  BOOST_TEST(bad.error().context.find(path) != std::string::npos, bad.error().context);
  const auto good = folder.write("c.jsonl", "{\"input_length\":2,\"output_length\":3}\n").string();
  BOOST_TEST(made_of(good, 0).requests.size() == 1U);
  BOOST_TEST(!made_of(good, 0).has_times);
}

BOOST_AUTO_TEST_CASE(recorded_traces_are_whole, *testing::needs_test_data()) {
  const auto folder = *testing::test_data_dir() / "traces";
  const auto size_of = [&folder](const std::string& name) {
    const auto load = make_workload({.name = name, .trace_folder = folder});
    BOOST_REQUIRE_MESSAGE(load.has_value(), (load ? "" : load.error().context));
    BOOST_TEST(load->has_times);
    BOOST_TEST(load->lines_bad == 0U);
    return load->requests.size();
  };
  BOOST_TEST(size_of("azure-code") == 8819U);
  BOOST_TEST(size_of("azure-conv") == 19366U);
  BOOST_TEST(size_of("mooncake") == 12031U);
  BOOST_TEST(size_of("mooncake-synthetic") > 1000U);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_cut_and_counted) {
  workload load;
  for (const auto& [input, output] :
       std::vector<std::pair<int, int>>{{10, 10}, {500, 20}, {10, 500}, {500, 500}}) {
    load.requests.push_back({.input_tokens = input, .output_tokens = output});
  }
  const auto cut = cut_to(load, 100);
  const auto is = [&load](std::size_t i, int input, int output) {
    BOOST_TEST(load.requests[i].input_tokens == input);
    BOOST_TEST(load.requests[i].output_tokens == output);
  };
  is(0, 10, 10);
  is(1, 80, 20);
  is(2, 10, 90);
  is(3, 50, 50);
  BOOST_TEST(cut.requests == 3U);
  BOOST_TEST(cut.input_tokens == 420 + 450);
  BOOST_TEST(cut.output_tokens == 410 + 450);
}

BOOST_AUTO_TEST_CASE(a_trace_can_run_faster) {
  auto load = *read_jsonl_trace(R"({"timestamp": 0, "input_length": 1, "output_length": 1})"
                                "\n"
                                R"({"timestamp": 4000, "input_length": 1, "output_length": 1})");
  speed_up(load, 4);
  BOOST_TEST(seconds(load.requests[1].at) == 1.0, tt::tolerance(1e-9));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(request_text)

BOOST_AUTO_TEST_CASE(prompts_are_seeded_and_share_nothing) { // T-1
  const planned_request planned{.input_tokens = 20, .output_tokens = 5};
  const request_form form{.model = "m\"", .seed = 3};
  const auto body = nlohmann::json::parse(body_of(planned, 0, form));
  BOOST_TEST(body.at("model") == "m\"");
  BOOST_TEST(body.at("prompt").size() == 20U);
  for (const auto& id : body.at("prompt")) {
    BOOST_TEST(id.get<int>() >= 256);
    BOOST_TEST(id.get<int>() < 1024);
  }
  BOOST_TEST(body.at("max_tokens") == 5);
  BOOST_TEST(body.at("stream") == true);
  BOOST_TEST(body.at("stream_options").at("include_usage") == true);
  BOOST_TEST(body_of(planned, 0, form) == body_of(planned, 0, form));
  BOOST_TEST(body_of(planned, 0, form) != body_of(planned, 1, form));
}

BOOST_AUTO_TEST_CASE(chats_and_whole_answers_are_asked_for) {
  request_form form{.model = "m", .is_chat = true, .is_stream = false};
  form.to = {.host = "::1", .port = 80, .prefix = "/x"};
  form.api_key = "k";
  const auto text = request_of({.input_tokens = 3, .output_tokens = 5}, 0, form);
  BOOST_TEST(text.starts_with("POST /x/v1/chat/completions HTTP/1.1\r\nhost: [::1]:80\r\n"));
  BOOST_TEST(text.find("authorization: Bearer k\r\n") != std::string::npos);
  const auto body = nlohmann::json::parse(text.substr(text.find("\r\n\r\n") + 4));
  BOOST_TEST(!body.contains("stream"));
  const auto content = body.at("messages").at(0).at("content").get<std::string>();
  BOOST_TEST(std::count(content.begin(), content.end(), ' ') == 2);
  const auto given =
      nlohmann::json::parse(body_of({.output_tokens = 5, .text = "a \"b\""}, 0, form));
  BOOST_TEST(given.at("messages").at(0).at("content") == "a \"b\"");
}

BOOST_AUTO_TEST_CASE(urls) {
  const auto full = parse_url("http://[::1]:8000/base/v1/");
  BOOST_REQUIRE(full.has_value());
  BOOST_TEST(full->host == "::1");
  BOOST_TEST(full->port == 8000);
  BOOST_TEST(full->prefix == "/base");
  BOOST_TEST(parse_url("http://localhost")->port == 80);
  BOOST_TEST((parse_url("https://a").error().code == errc::unsupported));
  for (const auto* text : {"http://",
                           "http://a:0",
                           "http://a:x",
                           "http://a:99999",
                           "http://[::1",
                           "http://a b",
                           "ftp://a",
                           "http://a:1\r\nx: y"}) {
    BOOST_TEST(!parse_url(text).has_value(), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(figures_of_loads)

BOOST_AUTO_TEST_CASE(percentiles_are_numpys) { // F-1
  const std::vector<double> five{1, 2, 3, 4, 10};
  BOOST_TEST(percentile(five, 0.5) == 3);
  BOOST_TEST(percentile(five, 0.9) == 7.6,
             tt::tolerance(1e-12)); // np.percentile([1, 2, 3, 4, 10], 90)
  BOOST_TEST(percentile(five, 0) == 1);
  BOOST_TEST(percentile(five, 1) == 10);
  BOOST_TEST(percentile({}, 0.5) == 0);
  BOOST_TEST(percentile({7}, 0.99) == 7);
  const auto all = spread_of({10, 4, 3, 2, 1});
  BOOST_TEST(all.n == 5U);
  BOOST_TEST(all.mean == 4);
  BOOST_TEST(all.p99 == 9.76, tt::tolerance(1e-12));
  BOOST_TEST(all.max == 10);
}

BOOST_AUTO_TEST_CASE(times_count_from_when_a_request_was_due) { // L-2
  load_record record;
  record.requests = {stream_of(0, 30, 100, 50, 3)};
  const auto all = figures_of(record, {.wanted = {}, .pace_ms = 45});
  BOOST_TEST(all.ttft.mean == 100, tt::tolerance(1e-9));
  BOOST_TEST(all.send_lag.mean == 30, tt::tolerance(1e-9));
  BOOST_TEST(all.tpot.mean == 50, tt::tolerance(1e-9));
  BOOST_TEST(all.itl.n == 2U);
  BOOST_TEST(all.e2el.mean == 200, tt::tolerance(1e-9));
  BOOST_TEST(all.added_itl->mean == 5, tt::tolerance(1e-9));
  BOOST_TEST(all.seconds == 0.2, tt::tolerance(1e-9));
  BOOST_TEST(all.input_tokens == 12, "as the server says");
  BOOST_TEST(all.output_tokens == 3);
}

BOOST_AUTO_TEST_CASE(an_event_of_several_tokens_counts_for_each) {
  load_record record;
  auto one = stream_of(0, 0, 10, 0, 1);
  one.answer.gaps = {{30, 3}};
  one.answer.output_tokens = 4;
  record.requests = {one};
  const auto all = figures_of(record, {.wanted = {}, .pace_ms = 8});
  BOOST_TEST(all.itl.n == 3U);
  BOOST_TEST(all.itl.max == 10, tt::tolerance(1e-9));
  BOOST_TEST(all.added_itl->max == 6, tt::tolerance(1e-9));
  BOOST_TEST(all.events_with_more == 1U);
}

BOOST_AUTO_TEST_CASE(goodput_counts_requests_that_keep_every_goal) { // F-3
  load_record record;
  record.requests = {stream_of(0, 0, 100, 10, 11), // good
                     stream_of(0, 0, 600, 10, 11), // late
                     stream_of(0, 0, 100, 60, 11), // slow
                     stream_of(0, 0, 400, 0, 1)};  // one token: no TPOT to keep
  auto failed = stream_of(0, 0, 100, 10, 11);
  failed.answer.how = outcome::cut;
  record.requests.push_back(failed);
  const auto wanted = parse_goals("ttft:500,tpot:50");
  BOOST_REQUIRE(wanted.has_value());
  const auto all = figures_of(record, {.wanted = *wanted});
  BOOST_TEST(all.good.value() == 2U);
  BOOST_TEST(all.per_second(2) == 2 / 0.7, tt::tolerance(1e-9));
  BOOST_TEST(!figures_of(record, {}).good.has_value());
  auto whole = stream_of(0, 0, 1, 1, 2);
  whole.answer.first.reset();
  record.requests = {whole};
  BOOST_TEST(figures_of(record, {.wanted = *wanted}).good.value() == 0U, "its TTFT is not known");
  for (const auto* text :
       {"ttft", "ttft:", "ttft:x", "ttft:-1", "itl:5", "ttft:1,,tpot:2", "ttft:inf"}) {
    BOOST_TEST(!parse_goals(text).has_value(), text);
  }
}

BOOST_AUTO_TEST_CASE(every_request_is_in_one_outcome) { // F-2
  load_record record;
  const auto add = [&record](outcome how, int status, std::string error, int times) {
    request_record one;
    one.answer.how = how;
    one.answer.status = status;
    one.answer.error = std::move(error);
    record.requests.insert(record.requests.end(), static_cast<std::size_t>(times), one);
  };
  add(outcome::refused, 429, "full", 3);
  add(outcome::http_error, 500, "defect", 2);
  add(outcome::timed_out, 0, "", 1);
  record.requests.push_back(stream_of(0, 0, 1, 1, 2));
  const auto all = figures_of(record, {});
  BOOST_TEST(all.requests == 7U);
  BOOST_TEST(all.count(outcome::ok) == 1U);
  BOOST_TEST(all.count(outcome::refused) == 3U);
  BOOST_TEST(all.failed() == 3U);
  BOOST_TEST(all.by_status.at(0) == 1U);
  BOOST_TEST(all.by_status.at(429) == 3U);
  BOOST_TEST(all.by_cause.at("http_error 500: defect") == 2U);
  const auto json = nlohmann::json::parse(json_of({.target = "t"}, all));
  BOOST_TEST(json.at("completed") == 1);
  BOOST_TEST(json.at("refused") == 3);
  BOOST_TEST(json.at("outcomes").at("timed_out") == 1);
  BOOST_TEST(json.at("statuses").at("500") == 2);
  BOOST_TEST(json.at("p99_ttft_ms").get<double>() == 1.0, tt::tolerance(1e-9));
  BOOST_TEST(table_of({.target = "t"}, all).find("1 / 3 / 3  (of 7)") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
