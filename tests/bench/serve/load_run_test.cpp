// A load against servers that do everything wrong, and against a whole one on the sim device: nothing is lost and nothing hangs.
#include "tests/bench/serve/load_run.hpp"

#include "tests/bench/serve/figures.hpp"
#include "tests/bench/serve/own_server.hpp"
#include "tests/bench/serve/played_server.hpp"
#include "tests/bench/serve/serve_bench.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

using namespace vdist;
using namespace vdist::bench::serve;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view json_head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

std::string whole_answer(int tokens = 1) {
  const auto body = R"({"choices":[{"text":"a"}],"usage":{"prompt_tokens":4,"completion_tokens":)"
                    + std::to_string(tokens) + "}}";
  return std::string(json_head) + "content-length: " + std::to_string(body.size()) + "\r\n\r\n"
         + body;
}

std::string stream_answer() {
  const std::string events =
      "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\n"
      "data: [DONE]\n\n";
  return "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: "
         + std::to_string(events.size()) + "\r\n\r\n" + events;
}

struct loaded {
  loaded() { options.timeout = 30s; }

  figures run(const played_server& server, std::size_t requests) {
    return run(server.port(), requests);
  }

  figures run(std::uint16_t port, std::size_t requests) {
    load.requests.assign(requests, {.at = {}, .input_tokens = 4, .output_tokens = 2, .text = {}});
    options.form.to = {.host = "127.0.0.1", .port = port, .prefix = {}};
    auto done = run_load(load, options);
    BOOST_REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().context));
    record = std::move(*done);
    return figures_of(record, {});
  }

  workload load;
  load_options options;
  load_record record;
};

/// A port where nobody listens: it was somebody's a moment ago.
std::uint16_t dead_port() {
  const played_server server([](std::size_t, const std::string&) { return played_answer{}; });
  return server.port();
}

constexpr const char* sim_toml = R"(
[cluster]
isolation = "process"
[model]
path = ")" VDIST_SOURCE_DIR R"(/examples/models/tiny-tales"
[device]
kind = "sim"
threads = 1
kv_cache_bytes = 16777216
[log]
level = "warn"
[server]
api_key = "sesame"
)";

/// vdist-bench serve on a vdist-run of its own.
struct served {
  served() {
    options.target = folder.write("sim.toml", sim_toml).string();
    options.json = (folder.path() / "figures.json").string();
    options.is_quiet = true;
  }

  nlohmann::json run() {
    const auto done = bench_serve(options);
    BOOST_REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().context));
    std::ifstream file(options.json);
    return nlohmann::json::parse(file);
  }

  testing::temporary_folder folder;
  serve_options options;
};

} // namespace

BOOST_AUTO_TEST_SUITE(loads)

BOOST_FIXTURE_TEST_CASE(connections_are_kept_and_every_request_has_a_record, loaded) { // L-1, L-4
  std::atomic<std::size_t> keyed{0};
  const played_server server([&keyed](std::size_t, const std::string& request) {
    keyed += request.find("authorization: Bearer sesame\r\n") != std::string::npos ? 1 : 0;
    return played_answer{whole_answer(3)};
  });
  options.is_open_loop = false;
  options.in_flight_max = 4;
  options.form.is_stream = false;
  options.form.api_key = "sesame";
  const auto all = run(server, 200);
  BOOST_TEST(all.count(outcome::ok) == 200U);
  BOOST_TEST(all.output_tokens == 600);
  BOOST_TEST(all.input_tokens == 800);
  BOOST_TEST(all.in_flight_peak == 4U);
  BOOST_TEST(server.requests() == 200U);
  BOOST_TEST(keyed.load() == 200U);
  BOOST_TEST(all.itl.n == 0U);
}

BOOST_FIXTURE_TEST_CASE(streams_are_measured, loaded) {
  const played_server server(
      [](std::size_t, const std::string&) { return played_answer{stream_answer()}; });
  const auto all = run(server, 50);
  BOOST_TEST(all.count(outcome::ok) == 50U);
  BOOST_TEST(all.ttft.n == 50U);
  BOOST_TEST(all.itl.n == 50U);
  BOOST_TEST(all.output_tokens == 100);
}

BOOST_FIXTURE_TEST_CASE(refusals_and_errors_are_counted_apart, loaded) {
  const played_server server([](std::size_t index, const std::string&) {
    constexpr std::string_view body = R"({"error":{"message":"no"}})";
    const auto status = index % 3 == 0 ? "429 Too Many Requests" : "503 Service Unavailable";
    return index % 3 == 1
               ? played_answer{stream_answer()}
               : played_answer{"HTTP/1.1 " + std::string(status) + "\r\ncontent-length: "
                               + std::to_string(body.size()) + "\r\n\r\n" + std::string(body)};
  });
  const auto all = run(server, 30);
  BOOST_TEST(all.count(outcome::ok) == 10U);
  BOOST_TEST(all.count(outcome::refused) == 10U);
  BOOST_TEST(all.count(outcome::http_error) == 10U);
  BOOST_TEST(all.by_cause.at("http_error 503: no") == 10U);
  BOOST_TEST(all.by_status.at(429) == 10U);
}

BOOST_FIXTURE_TEST_CASE(an_early_end_is_a_failure_and_nothing_is_sent_twice, loaded) { // L-1, L-3
  const played_server server([](std::size_t index, const std::string&) {
    const auto whole = stream_answer();
    const auto bytes = index % 4 == 0   ? std::string()       // no answer at all
                       : index % 4 == 1 ? whole.substr(0, 20) // a part of its head
                       : index % 4 == 2 ? whole.substr(0, whole.size() - 10)
                                        : whole;
    return played_answer{bytes, true};
  });
  const auto all = run(server, 40);
  BOOST_TEST(all.count(outcome::cut) == 30U);
  BOOST_TEST(all.count(outcome::ok) == 10U);
  BOOST_TEST(server.requests() == 40U);
  BOOST_TEST(all.output_tokens == 20, "of ok requests only");
}

BOOST_FIXTURE_TEST_CASE(garbage_is_a_failure, loaded) {
  const played_server server([](std::size_t index, const std::string&) {
    return played_answer{index % 2 == 0 ? "\x16\x03\x01 what is this\r\n\r\n"
                                        : std::string(json_head) + "content-length: 4\r\n\r\n<a/>"};
  });
  const auto all = run(server, 20);
  BOOST_TEST(all.count(outcome::malformed) == 20U);
}

BOOST_FIXTURE_TEST_CASE(a_silent_server_costs_the_timeout_once, loaded) { // L-1
  const played_server server([](std::size_t index, const std::string&) {
    return index == 0 ? played_answer{stream_answer().substr(0, 120)} : played_answer{};
  });
  options.timeout = 150ms;
  options.in_flight_max = 100;
  const auto begun = std::chrono::steady_clock::now();
  const auto all = run(server, 100);
  BOOST_TEST(all.count(outcome::timed_out) == 100U);
  BOOST_TEST((std::chrono::steady_clock::now() - begun < 20s));
  BOOST_TEST(all.e2el.n == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_late_request_gives_up_its_connection, loaded) { // L-1, L-3
  const played_server* watched = nullptr;
  std::size_t open_at_the_second = 0;
  const played_server server([&](std::size_t index, const std::string&) {
    open_at_the_second = watched->connections();
    return index == 0 ? played_answer{} : played_answer{stream_answer()};
  });
  watched = &server;
  options.timeout = 500ms;
  options.is_open_loop = false;
  options.in_flight_max = 1;
  const auto all = run(server, 2);
  BOOST_TEST(all.count(outcome::timed_out) == 1U);
  BOOST_TEST(all.count(outcome::ok) == 1U);
  BOOST_TEST(open_at_the_second == 1U);
}

BOOST_FIXTURE_TEST_CASE(connections_that_the_server_closes_while_idle_are_not_used_again, loaded) {
  const played_server server([](std::size_t index, const std::string&) {
    return played_answer{.bytes = stream_answer(), .closes_others = index == 5};
  });
  load.requests.assign(12, {.at = {}, .input_tokens = 4, .output_tokens = 2, .text = {}});
  for (std::size_t i = 6; i < 12; ++i) {
    load.requests[i].at = 500ms; // by then the first six have long been answered
  }
  options.form.to = {.host = "127.0.0.1", .port = server.port(), .prefix = {}};
  const auto done = run_load(load, options);
  BOOST_REQUIRE(done.has_value());
  const auto all = figures_of(*done, {});
  BOOST_TEST(all.count(outcome::ok) == 12U);
}

BOOST_FIXTURE_TEST_CASE(nobody_listens, loaded) { // L-1
  const auto all = run(dead_port(), 25);
  BOOST_TEST(all.count(outcome::not_connected) == 25U);
}

BOOST_FIXTURE_TEST_CASE(a_name_with_several_addresses_is_one_that_answers, loaded) {
  const played_server server(
      [](std::size_t, const std::string&) { return played_answer{stream_answer()}; });
  load.requests.assign(1, {.at = {}, .input_tokens = 4, .output_tokens = 2, .text = {}});
  options.form.to = {.host = "localhost", .port = server.port(), .prefix = {}};
  const auto done = run_load(load, options);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(figures_of(*done, {}).count(outcome::ok) == 1U);
  options.form.to.host = "nowhere.invalid";
  BOOST_TEST((run_load(load, options).error().code == errc::not_found));
}

BOOST_FIXTURE_TEST_CASE(waiting_for_a_connection_counts, loaded) { // L-2
  const played_server server(
      [](std::size_t, const std::string&) { return played_answer{stream_answer()}; });
  options.in_flight_max = 1;
  run(server, 10);
  BOOST_REQUIRE(record.requests.size() == 10U);
  for (std::size_t i = 1; i < record.requests.size(); ++i) {
    BOOST_TEST((record.requests[i].due == record.started));
    BOOST_TEST((record.requests[i].begun >= record.requests[i - 1].ended));
  }
  options.is_open_loop = false;
  run(server, 10);
  BOOST_TEST((record.requests[9].due >= record.requests[8].ended));
}

BOOST_FIXTURE_TEST_CASE(a_stop_interrupts_what_is_under_way, loaded) {
  std::atomic<bool> stop{false};
  const played_server server([&stop](std::size_t index, const std::string&) {
    stop = index == 4;
    return played_answer{};
  });
  options.stop = &stop;
  options.in_flight_max = 5;
  const auto all = run(server, 50);
  BOOST_TEST(all.count(outcome::interrupted) == 5U);
  BOOST_TEST(all.requests == 5U);
}

BOOST_FIXTURE_TEST_CASE(a_request_larger_than_the_sockets_buffers_arrives, loaded) {
  std::atomic<std::size_t> longest{0};
  const played_server server([&longest](std::size_t, const std::string& request) {
    longest = std::max(longest.load(), request.size());
    return played_answer{stream_answer()};
  });
  load.requests.clear();
  options.form.to = {.host = "127.0.0.1", .port = server.port(), .prefix = {}};
  load.requests.push_back({.at = {}, .input_tokens = 2'000'000, .output_tokens = 1, .text = {}});
  const auto done = run_load(load, options);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(figures_of(*done, {}).count(outcome::ok) == 1U);
  BOOST_TEST(longest.load() > 6'000'000U);
}

BOOST_FIXTURE_TEST_CASE(too_many_connections_are_refused_before_the_run, loaded) {
  const played_server server([](std::size_t, const std::string&) { return played_answer{}; });
  options.form.to = {.host = "127.0.0.1", .port = server.port(), .prefix = {}};
  options.idle_connections = std::numeric_limits<std::uint32_t>::max();
  const auto refused = run_load(load, options);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::resource_exhausted));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(serve_bench)

BOOST_FIXTURE_TEST_CASE(counts_of_a_whole_server_are_exact, served) {
  options.workload = "random:40/16";
  options.requests = 64;
  options.closed = 8;
  options.idle = 20;
  options.goodput = "e2el:60000";
  const auto got = run();
  BOOST_TEST(got.at("completed") == 64);
  BOOST_TEST(got.at("failed") == 0);
  BOOST_TEST(got.at("total_input_tokens") == 64 * 40);
  BOOST_TEST(got.at("total_output_tokens") == 64 * 16);
  BOOST_TEST(got.at("max_concurrent_requests") == 8);
  BOOST_TEST(got.at("idle_connections") == 20);
  BOOST_TEST(got.at("idle_connections_lost") == 0);
  BOOST_TEST(got.at("request_goodput").get<double>() > 0);
  BOOST_TEST(got.at("model_id") == "tiny-tales");
  BOOST_TEST(got.at("server_processes").size() >= 4U);
  BOOST_TEST(got.dump().find("sesame") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(chats_and_whole_answers_of_an_open_loop, served) {
  options.workload = folder
                         .write("load.jsonl",
                                "{\"timestamp\":0,\"input_length\":9,\"output_length\":5}\n"
                                "{\"timestamp\":10,\"input_length\":9,\"output_length\":100000}\n"
                                "broken\n")
                         .string();
  options.is_chat = true;
  options.is_whole = true;
  options.speed = 10;
  options.max_model_len = 64;
  const auto got = run();
  BOOST_TEST(got.at("completed") == 2);
  BOOST_TEST(got.at("lines_bad") == 1);
  BOOST_TEST(got.at("cut").at("requests") == 1);
  BOOST_TEST(got.at("total_output_tokens") == 5 + 60 - 9,
             "of the 64 a chat's template has a sixteenth");
  BOOST_TEST(!got.contains("mean_ttft_ms"));
}

BOOST_FIXTURE_TEST_CASE(mistakes_are_named, served) {
  const auto code_of = [this](auto change) {
    auto wrong = options;
    change(wrong);
    const auto done = bench_serve(wrong);
    return done ? errc::ok : done.error().code;
  };
  BOOST_TEST((code_of([](auto& o) { o.workload = "nothing"; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.goodput = "x"; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.open_rate = -1; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.speed = 0; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.timeout_s = 0; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.usage = "some"; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](auto& o) { o.api_key_file = "/nowhere"; }) == errc::not_found));
  BOOST_TEST((code_of([](auto& o) { o.target = "/nowhere.toml"; }) == errc::not_found));
  BOOST_TEST((code_of([](auto& o) { o.target = "https://a"; }) == errc::unsupported));
  BOOST_TEST(
      (code_of([](auto& o) { o.overrides = {"device.kind=none"}; }) == errc::bad_configuration));
  BOOST_TEST((code_of([](auto& o) { o.target = "http://127.0.0.1:" + std::to_string(dead_port()); })
              == errc::closed));
  BOOST_TEST(
      (code_of([](auto& o) { o.overrides = {"server.api_key_file=/nowhere"}; }) == errc::closed),
      "it ended instead of serving");
}

BOOST_AUTO_TEST_SUITE_END()
