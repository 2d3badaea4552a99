// GET /metrics: before, while and after something is served, with exact numbers of what was; and the dashboard, which may
// only ask for what is there.
#include "tests/actors/front_door/front_door_fixture.hpp"
#include "tests/support/engine_driver.hpp"
#include "tests/support/metrics_page.hpp"

#include "actors/run/serve_run.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

metrics_page page_at(std::uint16_t port, const header_list& headers = {}) {
  const auto answer = ask(port, "GET", "/metrics", {}, headers);
  BOOST_REQUIRE_EQUAL(answer.status, 200);
  BOOST_TEST(answer.headers.at("content-type") == "text/plain; version=0.0.4; charset=utf-8");
  auto page = read_metrics(answer.body);
  for (const auto& violation : page.violations) {
    BOOST_ERROR(violation);
  }
  return page;
}

/// To its end, for threads that check nothing.
void read_quietly(actors::text_stream& stream) {
  for (auto chunk = stream.next(10s);
       chunk && *chunk && (*chunk)->reason == protocol::finish_reason::none;) {
    chunk = stream.next(10s);
  }
}

/// An engine behind a front door.
struct measured_engine {
  explicit measured_engine(std::string_view toml, const std::vector<std::string>& overrides = {})
      : driver(toml, overrides), backend(driver.get()) {
    actors::front_door_config config;
    config.http.port = 0;
    auto started = actors::http_front_door::start(
        std::move(config),
        actors::served_model_of(driver.get().setup(), driver.get().default_params()),
        time);
    BOOST_REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().context));
    door = std::move(*started);
    door->open(backend);
  }

  ~measured_engine() { door->close(); }

  /// Once every request is over.
  metrics_page settled() {
    BOOST_TEST(driver.settled().active_requests == 0U);
    return page();
  }

  [[nodiscard]] metrics_page page() const { return page_at(door->port()); }

  engine_driver driver;
  system_clock time;
  actors::engine_backend backend;
  std::unique_ptr<actors::http_front_door> door;
};

generate_request request_of(std::size_t prompt, std::int32_t tokens) {
  generate_request made{.token_ids = std::vector<token_id>(prompt, 5)};
  for (std::size_t i = 0; i < prompt; ++i) { // no two alike
    made.token_ids[i] = static_cast<token_id>(1 + (prompt * 31 + i * 7) % 900);
  }
  made.params.max_tokens = tokens;
  made.params.ignore_eos = true;
  return made;
}

double value_of(const metrics_page& page, std::string_view name, const label_map& labels = {}) {
  const auto found = page.value(name, labels);
  BOOST_REQUIRE_MESSAGE(found.has_value(), name);
  return *found;
}

std::string file_at(const std::string& path) {
  std::ifstream in(path);
  BOOST_REQUIRE_MESSAGE(in.good(), path);
  return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace

BOOST_AUTO_TEST_SUITE(metrics_route)

BOOST_AUTO_TEST_CASE(while_the_model_loads_there_are_zeros) { // F-4, P-1
  const front_door_fixture door({}, false);
  const auto page = page_at(door.port());
  const label_map here{{"model_name", "tiny"}, {"engine", "0"}};
  BOOST_TEST(value_of(page, "vllm:num_requests_running", here) == 0);
  BOOST_TEST(value_of(page, "vllm:generation_tokens_total", here) == 0);
  BOOST_TEST(value_of(page, "vdist:replica_state", {{"state", "loading"}}) == 1);
  BOOST_TEST(value_of(page, "vdist:build_info", {{"version", "1.2.3"}}) == 1);
}

BOOST_AUTO_TEST_CASE(it_needs_a_key_like_any_other) { // F-5
  config::server_section settings;
  settings.api_key = config::secret("sesame");
  actors::front_door_config config;
  config.keys = *actors::api_keys::load(settings);
  const front_door_fixture door(std::move(config));
  BOOST_TEST(ask(door.port(), "GET", "/metrics").status == 401);
  const auto page = page_at(door.port(), {{"Authorization", "Bearer sesame"}});
  BOOST_TEST(value_of(page, "vdist:http_requests_total", {{"route", "/metrics"}, {"status", "401"}})
             == 1);
}

BOOST_AUTO_TEST_CASE(answers_count_by_route_and_status) {
  const front_door_fixture door;
  for (int i = 0; i < 3; ++i) {
    ask(door.port(), "GET", "/v1/models");
  }
  ask(door.port(), "GET", "/v1/models/tiny");
  ask(door.port(), "GET", "/v1/models/other");
  ask(door.port(), "GET", "/nowhere/1");
  ask(door.port(), "GET", "/nowhere/2");
  ask(door.port(), "DELETE", "/v1/models");
  post(door.port(), "/v1/completions", {{"model", "tiny"}});
  ask(door.port(), "FROB/", "/"); // no method: the server refuses it
  const auto page = page_at(door.port());
  const auto count = [&page](const char* route, const char* status) {
    return value_of(page, "vdist:http_requests_total", {{"route", route}, {"status", status}});
  };
  BOOST_TEST(count("/v1/models", "200") == 3);
  BOOST_TEST(count("/v1/models", "405") == 1);
  BOOST_TEST(count("/v1/models/", "200") == 1);
  BOOST_TEST(count("/v1/models/", "404") == 1);
  BOOST_TEST(count("other", "404") == 2, "paths of clients make no series");
  BOOST_TEST(count("/v1/completions", "400") == 1);
  BOOST_TEST(count("/metrics", "200") == 0, "its own answer has not begun");
  BOOST_TEST(value_of(page, "vdist:http_refused_total", {{"reason", "malformed"}}) == 1);
  BOOST_TEST(value_of(page, "vdist:http_connections_accepted_total") == 11);
  BOOST_TEST(value_of(page, "vdist:http_submit_wait_seconds_count") == 2, "a body, and this one");
  BOOST_TEST(value_of(page, "vdist:http_bytes_total", {{"direction", "in"}}) > 500);
}

BOOST_AUTO_TEST_CASE(counts_of_requests_are_exact) { // M-2
  measured_engine served(sim_config(), {"parallel.data=2", "parallel.tensor=2"});
  std::vector<generate_request> requests;
  double prompts = 0;
  double tokens = 0;
  for (int i = 1; i <= 40; ++i) {
    requests.push_back(request_of(static_cast<std::size_t>(i), 1 + i % 7));
    prompts += i;
    tokens += 1 + i % 7;
  }
  BOOST_TEST(served.driver.run(requests).size() == 40U);
  const auto page = served.settled();
  BOOST_TEST(value_of(page, "vdist:requests_accepted_total") == 40);
  BOOST_TEST(value_of(page, "vllm:request_success_total", {{"finished_reason", "length"}}) == 40);
  BOOST_TEST(value_of(page, "vllm:request_success_total") == 40);
  BOOST_TEST(value_of(page, "vllm:prompt_tokens_total") == prompts);
  BOOST_TEST(value_of(page, "vllm:generation_tokens_total") == tokens);
  BOOST_TEST(value_of(page, "vllm:request_prompt_tokens_sum") == prompts);
  BOOST_TEST(value_of(page, "vllm:request_generation_tokens_sum") == tokens);
  BOOST_TEST(value_of(page, "vllm:inter_token_latency_seconds_count") == tokens - 40);
  for (const auto* name : {"vllm:time_to_first_token_seconds_count",
                           "vllm:e2e_request_latency_seconds_count",
                           "vllm:request_queue_time_seconds_count",
                           "vllm:request_prefill_time_seconds_count",
                           "vllm:request_decode_time_seconds_count",
                           "vllm:request_inference_time_seconds_count"}) {
    BOOST_TEST(value_of(page, name) == 40, name);
  }
  BOOST_TEST(value_of(page, "vllm:request_time_per_output_token_seconds_count") == 35,
             "one of one token has none");
  BOOST_TEST(value_of(page, "vllm:prefix_cache_queries_total") == prompts);
  BOOST_TEST(value_of(page, "vllm:iteration_tokens_total_sum")
             == value_of(page, "vdist:step_tokens_total"));
  BOOST_TEST(value_of(page, "vdist:requests_active") == 0);
  BOOST_TEST(value_of(page, "vllm:num_requests_running") == 0);
  BOOST_TEST(value_of(page, "vdist:replica_state", {{"state", "running"}}) == 2);
  BOOST_TEST(value_of(page, "vdist:workers") == 4);
  BOOST_TEST(value_of(page, "vdist:ledger_requests", {{"state", "finished"}}) == 40);
  BOOST_TEST(value_of(page, "vdist:recoveries_total") == 0);
  for (const auto* engine : {"0", "1"}) {
    BOOST_TEST(value_of(page, "vdist:requests_accepted_total", {{"engine", engine}}) > 0);
  }
}

BOOST_AUTO_TEST_CASE(the_end_of_a_request_says_why) {
  measured_engine served(tiny_tales_config());
  generate_request stopped{.prompt = "Once upon a time"};
  stopped.params = served.driver.get().default_params();
  stopped.params.max_tokens = 150;
  stopped.params.ignore_eos = true;
  stopped.params.seed = 7;
  auto cancelled = stopped;
  const auto text = served.driver.run({stopped}).at(0).text;
  stopped.params.stop = {text.substr(10, 6)};
  BOOST_TEST(served.driver.run({stopped}).at(0).text.size() < text.size());
  auto made = served.driver.get().generate(cancelled);
  BOOST_REQUIRE(made.has_value());
  made->sequences[0]->cancel();
  BOOST_TEST((read_to_end(*made->sequences[0]).reason == protocol::finish_reason::cancelled));
  const auto page = served.settled();
  const auto count = [&page](const char* reason) {
    return value_of(page, "vllm:request_success_total", {{"finished_reason", reason}});
  };
  BOOST_TEST(count("length") == 1);
  BOOST_TEST(count("stop") == 1, "a stop string is no abort");
  BOOST_TEST(count("abort") == 1);
  BOOST_TEST(count("error") == 0);
}

BOOST_AUTO_TEST_CASE(who_is_refused_is_counted) {
  measured_engine served(
      sim_config(),
      {"scheduler.max_waiting=1", "scheduler.max_sequences=1", "device.sim.step_us=500"});
  std::vector<std::shared_ptr<actors::text_stream>> accepted;
  double refused = 0;
  for (int i = 0; i < 30; ++i) {
    auto made = served.driver.get().generate(request_of(3, 20));
    if (made) {
      accepted.push_back(made->sequences[0]);
    } else {
      ++refused;
    }
  }
  for (const auto& stream : accepted) {
    BOOST_TEST(read_to_end(*stream).token_ids.size() == 20U);
  }
  BOOST_REQUIRE(served.driver.get().drain().has_value());
  BOOST_TEST(!served.driver.get().generate(request_of(3, 2)).has_value());
  const auto page = served.settled();
  BOOST_TEST(refused > 0);
  BOOST_TEST(value_of(page, "vdist:requests_refused_total", {{"reason", "queue_full"}}) == refused);
  BOOST_TEST(value_of(page, "vdist:requests_refused_total", {{"reason", "closed"}}) == 1);
  BOOST_TEST(value_of(page, "vdist:requests_accepted_total")
             == static_cast<double>(accepted.size()));
  BOOST_TEST(value_of(page, "vdist:draining") == 1, "it answers while it drains");
}

BOOST_AUTO_TEST_CASE(a_killed_worker_shows) { // B-1
  measured_engine served(sim_config(), {"parallel.tensor=2", "device.sim.step_us=1000"});
  auto made = served.driver.get().generate(request_of(4, 200));
  BOOST_REQUIRE(made.has_value());
  BOOST_REQUIRE(made->sequences[0]->next(60s).has_value()); // tokens flow
  const auto before = served.page();
  BOOST_REQUIRE(served.driver.get()
                    .kill({.what = control::kill_target::kind::worker, .rank = 1})
                    .has_value());
  const auto rest = read_to_end(*made->sequences[0]);
  BOOST_TEST((rest.reason == protocol::finish_reason::length));
  const auto page = served.settled();
  BOOST_TEST(falls(before, page).empty());
  BOOST_TEST(value_of(page, "vdist:recoveries_total") == 1);
  BOOST_TEST(value_of(page, "vdist:fences_total") == 1);
  BOOST_TEST(value_of(page, "vdist:worker_restarts_total") == 1);
  BOOST_TEST(value_of(page, "vdist:epoch") == value_of(before, "vdist:epoch") + 1);
  for (const auto* phase :
       {"detection", "fence", "quiesce", "respawn", "rebuild", "restore", "first_token", "stall"}) {
    BOOST_TEST(value_of(page, "vdist:recovery_seconds_count", {{"phase", phase}}) == 1, phase);
  }
  const auto seconds = [&page](const char* phase) {
    return value_of(page, "vdist:recovery_seconds_sum", {{"phase", phase}});
  };
  const auto sum = seconds("detection") + seconds("fence") + seconds("quiesce") + seconds("respawn")
                   + seconds("rebuild") + seconds("restore") + seconds("first_token");
  BOOST_TEST(seconds("stall") > 0.0);
  BOOST_TEST(seconds("stall") <= sum + 1e-6, "B-2");
  BOOST_TEST(seconds("stall") < 30.0);
  BOOST_TEST(value_of(page, "vllm:generation_tokens_total") == 200, "none is counted twice");
  BOOST_TEST(value_of(page, "vllm:request_success_total", {{"finished_reason", "length"}}) == 1);
}

BOOST_AUTO_TEST_CASE(under_load_nothing_falls_and_parts_agree) {
  measured_engine served(sim_config(), {"parallel.data=2", "device.sim.step_us=200"});
  std::atomic<bool> is_done{false};
  std::thread load([&] { // checks belong to the thread of the test
    std::vector<actors::generation> all;
    for (int i = 0; i < 300; ++i) {
      auto one = served.driver.get().generate(
          request_of(1 + static_cast<std::size_t>(i % 50), 1 + i % 40));
      if (one) {
        all.push_back(std::move(*one));
      }
    }
    for (const auto& one : all) {
      read_quietly(*one.sequences.front());
    }
    is_done = true;
  });
  auto before = served.page();
  int pages = 0;
  while (!is_done) {
    auto now = served.page();
    BOOST_TEST(falls(before, now).empty());
    const auto ended = value_of(now, "vllm:request_success_total");
    BOOST_TEST(value_of(before, "vllm:request_success_total")
               <= value_of(now, "vdist:requests_accepted_total"));
    BOOST_TEST(value_of(before, "vllm:e2e_request_latency_seconds_count") <= ended);
    BOOST_TEST(value_of(now, "vllm:kv_cache_usage_perc") <= 2.0, "1 for each replica");
    before = std::move(now);
    ++pages;
  }
  load.join();
  BOOST_TEST_MESSAGE("pages: " << pages);
  const auto page = served.settled();
  BOOST_TEST(value_of(page, "vllm:request_success_total") == 300);
  BOOST_TEST(value_of(page, "vdist:requests_accepted_total") == 300);
  BOOST_TEST(value_of(page, "vdist:requests_active") == 0);
}

BOOST_AUTO_TEST_CASE(the_dashboard_asks_for_what_there_is) {
  const front_door_fixture door;
  const auto page = page_at(door.port());
  std::set<std::string> there;
  for (const auto& family : page.families) {
    for (const auto& sample : family.samples) {
      there.insert(sample.name);
    }
  }
  const auto text = file_at(VDIST_SOURCE_DIR "/config/grafana/vdist.json");
  const auto board = json::parse(text);
  BOOST_TEST(board.at("schemaVersion").get<int>() >= 36, "of Grafana 10");
  BOOST_TEST(board.at("id").is_null(), "an import makes its own");
  BOOST_TEST(board.at("templating").at("list").at(0).at("type") == "datasource");
  std::set<int> ids;
  std::set<std::string> rows;
  std::set<std::string> asked;
  const std::regex name(R"((vllm|vdist):[a-zA-Z0-9_:]+)");
  for (const auto& panel : board.at("panels")) {
    BOOST_TEST(ids.insert(panel.at("id").get<int>()).second);
    const auto& place = panel.at("gridPos");
    BOOST_TEST(place.at("x").get<int>() + place.at("w").get<int>() <= 24);
    if (panel.at("type") == "row") {
      rows.insert(panel.at("title").get<std::string>());
      continue;
    }
    BOOST_TEST(panel.at("datasource").at("uid") == "${datasource}");
    for (const auto& target : panel.at("targets")) {
      const auto expression = target.at("expr").get<std::string>();
      BOOST_TEST(std::count(expression.begin(), expression.end(), '(')
                 == std::count(expression.begin(), expression.end(), ')'));
      std::sregex_iterator at(expression.begin(), expression.end(), name);
      BOOST_TEST((at != std::sregex_iterator()), expression);
      for (; at != std::sregex_iterator(); ++at) {
        asked.insert(at->str());
        BOOST_TEST(there.contains(at->str()), at->str() << " in " << expression);
      }
    }
  }
  BOOST_TEST(
      (rows
       == std::set<std::string>{
           "Overview", "Latency", "Scheduler and KV cache", "Faults and recoveries", "HTTP"}));
  for (const auto& family : page.families) { // and nothing is measured that nobody sees
    const auto used = family.type == "histogram" ? family.name + "_bucket" : family.name;
    BOOST_TEST((asked.contains(used) || asked.contains(family.name + "_sum")), family.name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
