// The API over HTTP in front of a whole engine with the demo model: what clients read is what the engine generates.
#include "tests/actors/front_door/api_client.hpp"
#include "tests/support/engine_driver.hpp"

#include "actors/run/serve_run.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

struct served_engine {
  explicit served_engine(const std::vector<std::string>& overrides = {},
                         std::vector<actors::door_port> ports = {})
      : driver(tiny_tales_config(), overrides), backend(driver.get()) {
    actors::front_door_config config;
    config.http.port = 0;
    config.ports = std::move(ports);
    auto started = actors::http_front_door::start(
        std::move(config),
        actors::served_model_of(driver.get().setup(), driver.get().default_params()),
        time);
    BOOST_REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().context));
    door = std::move(*started);
    door->open(backend);
    name = json_of(ask(door->port(), "GET", "/v1/models")).at("data").at(0).at("id");
  }

  ~served_engine() { door->close(); }

  json body(json more) const {
    json made{{"model", name}, {"prompt", "Once upon a time"}, {"max_tokens", 40}, {"seed", 7}};
    made.update(more);
    return made;
  }

  std::string expected(json more = json::object()) {
    const auto asked = body(more);
    generate_request request{.prompt = asked.at("prompt"), .params = driver.get().default_params()};
    request.params.max_tokens = asked.at("max_tokens");
    request.params.seed = asked.at("seed");
    return driver.run({request}).at(0).text;
  }

  engine_driver driver;
  system_clock time;
  actors::engine_backend backend;
  std::unique_ptr<actors::http_front_door> door;
  std::string name;
};

/// A port for each of two replicas.
struct two_ports : served_engine {
  two_ports()
      : served_engine({"parallel.data=2"},
                      {{.port = 0, .replicas = {0}}, {.port = 0, .replicas = {1}}}) {}

  [[nodiscard]] std::uint16_t port(std::size_t index) const { return door->ports().at(index).port; }

  [[nodiscard]] int status_of(std::size_t index, std::string_view path) const {
    return ask(port(index), "GET", path).status;
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(served)

BOOST_FIXTURE_TEST_CASE(a_port_of_a_replica_that_drains_refuses_until_it_is_resumed,
                        two_ports) { // F-6
  const auto text = expected();
  for (const std::size_t index : {0U, 1U}) {
    const auto answer = post(port(index), "/v1/completions", body(json::object()));
    BOOST_TEST(json_of(answer).at("choices").at(0).at("text") == text);
  }
  BOOST_REQUIRE(driver.get().drain_replica(0, true).has_value());
  for (const char* path : {"/health", "/ready"}) {
    BOOST_TEST(status_of(0, path) == 503);
    BOOST_TEST(status_of(1, path) == 200);
  }
  const auto refused = post(port(0), "/v1/completions", body(json::object()));
  BOOST_TEST(refused.status == 503);
  BOOST_TEST(refused.headers.at("retry-after") == "1");
  BOOST_TEST(post(port(1), "/v1/completions", body(json::object())).status == 200);
  BOOST_REQUIRE(driver.get().drain_replica(0, false).has_value());
  BOOST_TEST(status_of(0, "/ready") == 200);
  BOOST_TEST(post(port(0), "/v1/completions", body(json::object())).status == 200);
}

BOOST_FIXTURE_TEST_CASE(a_request_at_a_port_runs_on_its_replica, two_ports) { // F-6
  const auto steps = [this](std::size_t replica) {
    return driver.get().details().replicas.at(replica).tokens;
  };
  const auto before = steps(0);
  for (int i = 0; i < 4; ++i) {
    BOOST_TEST(post(port(1), "/v1/completions", body({{"n", 2}})).status == 200);
  }
  BOOST_TEST(steps(0) == before);
  BOOST_TEST(steps(1) > 0U);
}

BOOST_AUTO_TEST_CASE(ports_follow_from_the_settings) { // V-4
  config::cluster_config config;
  config.parallel.data = 3;
  config.server.port = 9000;
  const auto text = [&config] {
    std::string all;
    for (const auto& one : actors::door_ports_of(config)) {
      all += std::to_string(one.port) + ":";
      for (const auto replica : one.replicas) {
        all += std::to_string(replica);
      }
      all += ' ';
    }
    return all;
  };
  BOOST_TEST(text() == "9000: ");
  config.server.balancing = config::balancing_kind::hybrid;
  BOOST_TEST(text() == "9000:012 ");
  config.server.balancing = config::balancing_kind::external;
  BOOST_TEST(text() == "9000:0 9001:1 9002:2 ");
  config.server.port = 0;
  BOOST_TEST(text() == "0:0 0:1 0:2 ");
}

BOOST_FIXTURE_TEST_CASE(completions_and_streams_are_what_the_engine_generates, served_engine) {
  const auto text = expected();
  const auto whole = json_of(post(door->port(), "/v1/completions", body({{"n", 2}})));
  BOOST_TEST(whole.at("choices").at(0).at("text") == text);
  BOOST_TEST(whole.at("choices").size() == 2U);
  const auto got = post(door->port(), "/v1/completions", body({{"stream", true}}));
  const auto choices = choices_in(events_in(got.body));
  BOOST_TEST(choices.at(0).text == text);
  BOOST_TEST(choices.at(0).ends == 1);
  const auto chat =
      json_of(post(door->port(),
                   "/v1/chat/completions",
                   {{"model", name},
                    {"messages", {{{"role", "user"}, {"content", "Once upon a time"}}}},
                    {"max_tokens", 40},
                    {"seed", 7}}));
  BOOST_TEST(chat.at("choices").at(0).at("message").at("content") == text,
             "its template prints the text alone");
}

BOOST_FIXTURE_TEST_CASE(a_name_gives_the_same_again_and_nothing_else, served_engine) { // F-3
  const auto asked =
      json{{"model", name}, {"prompt", "One morning"}, {"max_tokens", 30}, {"stream", true}};
  const header_list named{{"Idempotency-Key", "one"}};
  const auto first = events_in(post(door->port(), "/v1/completions", asked, named).body);
  const auto again = events_in(post(door->port(), "/v1/completions", asked, named).body);
  BOOST_TEST(choices_in(first).at(0).text == choices_in(again).at(0).text, "without a seed, too");
  auto resumed = named;
  resumed.emplace_back("Last-Event-ID", *first.at(first.size() / 2).id);
  const auto rest = events_in(post(door->port(), "/v1/completions", asked, resumed).body);
  std::vector<sent_event> joined(first.begin(),
                                 first.begin() + static_cast<std::ptrdiff_t>(first.size() / 2 + 1));
  joined.insert(joined.end(), rest.begin(), rest.end());
  BOOST_TEST(choices_in(joined).at(0).text == choices_in(first).at(0).text);
  auto other = asked;
  other["prompt"] = "One evening";
  BOOST_TEST(post(door->port(), "/v1/completions", other, named).status == 409);
  BOOST_TEST(driver.settled().finished_requests == 1U, "generated once");
}

BOOST_FIXTURE_TEST_CASE(a_vanished_client_frees_what_it_took, served_engine) { // G-3
  http_client client(door->port());
  client.send(
      request_text("POST",
                   "/v1/completions",
                   body({{"stream", true}, {"max_tokens", 150}, {"ignore_eos", true}}).dump()));
  client.take_until("data: ");
  client.reset();
  BOOST_TEST(driver.settled().active_requests == 0U);
  BOOST_TEST(driver.settled().computed_tokens < 150U);
}

BOOST_FIXTURE_TEST_CASE(what_does_not_fit_is_refused_by_name, served_engine) { // F-1
  const auto got = post(door->port(), "/v1/completions", body({{"max_tokens", 100000}}));
  BOOST_TEST(got.status == 400);
  BOOST_TEST(json_of(got).at("error").at("param").is_string());
  BOOST_TEST(post(door->port(), "/v1/completions", body({{"prompt", ""}})).status == 400);
  BOOST_TEST(ask(door->port(), "GET", "/health").status == 200);
  BOOST_TEST(json_of(ask(door->port(), "GET", "/v1/cluster")).at("status").contains("replicas"));
  BOOST_REQUIRE(driver.get().drain().has_value());
  const auto drained = post(door->port(), "/v1/completions", body(json::object()));
  BOOST_TEST(drained.status == 503);
  BOOST_TEST(drained.headers.contains("retry-after"));
  BOOST_TEST(ask(door->port(), "GET", "/ready").status == 503);
}

BOOST_AUTO_TEST_SUITE_END()
