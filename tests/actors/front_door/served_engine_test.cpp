// The API over HTTP in front of a whole engine with the demo model: what clients read is what the engine generates.
#include "tests/actors/front_door/api_client.hpp"
#include "tests/support/engine_driver.hpp"

#include "actors/system/serve_run.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

struct served_engine {
  served_engine() : driver(tiny_tales_config()), backend(driver.get()) {
    actors::front_door_config config;
    config.http.port = 0;
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

} // namespace

BOOST_AUTO_TEST_SUITE(served)

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
