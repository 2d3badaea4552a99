// The API over HTTP in front of a backend that the test plays: routes, errors, keys, streams, resumption.
#include "tests/actors/front_door/front_door_fixture.hpp"

#include <set>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;
using protocol::finish_reason;

namespace {

/// The status, and F-1: an error object of this code.
void check_error(const http_answer& got, int status, const std::string& code) {
  BOOST_TEST(got.status == status, got.body);
  const auto error = json_of(got).at("error");
  BOOST_TEST(error.at("code") == code, got.body);
  BOOST_TEST(!error.at("message").get<std::string>().empty());
  BOOST_TEST((status != 429 && status != 503) == !got.headers.contains("retry-after"));
}

json completion(json more = json::object()) {
  json body{{"model", "tiny"}, {"prompt", "Once upon a time"}};
  body.update(more);
  return body;
}

/// Sends it and leaves the connection open.
http_client
send(std::uint16_t port, std::string_view path, const json& body, const header_list& headers = {}) {
  http_client client(port);
  client.send(request_text("POST", path, body.dump(), headers));
  return client;
}

/// Up to and with the event that has this in it.
std::string read_until(http_client& client, std::string_view mark) {
  auto text = client.take_until(mark);
  return text + client.take_until("\n\n");
}

/// The body of a stream of which the head has not been read yet.
std::vector<sent_event> read_stream(http_client& client) {
  const auto got = client.read();
  BOOST_TEST(got.status == 200);
  BOOST_TEST(got.headers.at("content-type").starts_with("text/event-stream"));
  return events_in(got.body);
}

} // namespace

BOOST_AUTO_TEST_SUITE(front_door)

BOOST_AUTO_TEST_CASE(small_routes_answer) {
  front_door_fixture door;
  BOOST_TEST(json_of(ask(door.port(), "GET", "/v1/models")).at("data").at(0).at("id") == "tiny");
  BOOST_TEST(json_of(ask(door.port(), "GET", "/v1/models/tiny")).at("max_model_len") == 256);
  check_error(ask(door.port(), "GET", "/v1/models/other"), 404, "model_not_found");
  BOOST_TEST(json_of(ask(door.port(), "GET", "/version")).at("version") == "1.2.3");
  BOOST_TEST(ask(door.port(), "GET", "/v1/cluster").body == R"({"status":{}})");
  for (const char* path : {"/health", "/live", "/ready"}) {
    BOOST_TEST(ask(door.port(), "GET", path).status == 200, path);
  }
  const auto tokens = json_of(post(door.port(), "/tokenize", {{"prompt", "a little old woman"}}));
  BOOST_TEST(tokens.at("count") == tokens.at("tokens").size());
  const auto text =
      json_of(post(door.port(), "/detokenize", {{"tokens", front_door_fixture::ids_of(" woman")}}));
  BOOST_TEST(text.at("prompt") == " woman");
  const auto chat = json_of(
      post(door.port(), "/tokenize", {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}}));
  const auto expected =
      *demo_tokenizer()->encode("<|bos|>user: Hi\nassistant: ", text::special_tokens::omit);
  BOOST_TEST(chat.at("tokens").get<std::vector<token_id>>() == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(each_port_speaks_for_its_replicas_and_any_port_for_a_name) { // F-6
  actors::front_door_config config;
  config.ports = {{.port = 0, .replicas = {0}}, {.port = 0, .replicas = {1, 2}}};
  front_door_fixture door(std::move(config));
  const auto ports = door.door->ports();
  BOOST_REQUIRE_EQUAL(ports.size(), 2U);
  BOOST_TEST(ports[0].port != ports[1].port);
  BOOST_TEST(door.port() == ports[0].port);
  BOOST_TEST(door.door->url(1) == "http://127.0.0.1:" + std::to_string(ports[1].port));
  auto first = send(ports[0].port, "/v1/completions", completion({{"stream", true}}));
  auto second = send(ports[1].port, "/v1/completions", completion({{"stream", true}}));
  std::vector<std::vector<std::int32_t>> asked;
  for (const std::size_t number : {0U, 1U}) {
    const auto made = door.backend.wait_for(number);
    asked.push_back(made->order.replicas);
    front_door_fixture::push(
        *made->streams[0], front_door_fixture::ids_of(" there"), finish_reason::length);
  }
  std::ranges::sort(asked);
  BOOST_TEST((asked == std::vector<std::vector<std::int32_t>>{{0}, {1, 2}}));
  for (auto* client : {&first, &second}) {
    BOOST_TEST(choices_in(read_stream(*client)).at(0).text == " there");
  }
  for (const char* path : {"/health", "/ready"}) {
    BOOST_TEST(json_of(ask(ports[1].port, "GET", path)).at("replicas") == json({1, 2}));
  }
  door.backend.gone = 0;
  for (const char* path : {"/health", "/ready"}) {
    BOOST_TEST(ask(ports[0].port, "GET", path).headers.contains("retry-after"));
    BOOST_TEST(ask(ports[0].port, "GET", path).status == 503);
    BOOST_TEST(ask(ports[1].port, "GET", path).status == 200);
  }
  BOOST_TEST(ask(ports[0].port, "GET", "/live").status == 200);
  const auto refused = post(ports[0].port, "/v1/completions", completion());
  BOOST_TEST(refused.status == 503);
  BOOST_TEST(refused.headers.contains("retry-after"));
  const header_list named{{"Idempotency-Key", "mine"}};
  auto there = send(ports[1].port, "/v1/completions", completion(), named);
  const auto key = door.backend.wait_for(2)->order.client_key;
  door.backend.gone = -1;
  auto here = send(ports[0].port, "/v1/completions", completion(), named);
  BOOST_TEST(door.backend.wait_for(3)->order.client_key == key, "the same name at another port");
  BOOST_TEST(door.door->stats().requests >= 12U, "of both ports");
}

BOOST_AUTO_TEST_CASE(a_port_in_use_leaves_nobody_listening) { // F-6
  front_door_fixture first;
  system_clock time;
  actors::front_door_config config;
  config.http.io_threads = 1;
  config.ports = {{.port = 0, .replicas = {0}}, {.port = first.port(), .replicas = {1}}};
  const auto second = actors::http_front_door::start(std::move(config), {.name = "tiny"}, time);
  BOOST_REQUIRE(!second.has_value());
  BOOST_TEST((second.error().code == errc::resource_exhausted));
  BOOST_TEST(ask(first.port(), "GET", "/live").status == 200);
}

BOOST_AUTO_TEST_CASE(what_is_not_there_and_what_is_not_allowed_is_an_error_object) { // F-1
  front_door_fixture door;
  check_error(ask(door.port(), "GET", "/nothing"), 404, "unknown_url");
  const auto wrong = ask(door.port(), "GET", "/v1/completions");
  check_error(wrong, 405, "method_not_allowed");
  BOOST_TEST(wrong.headers.at("allow") == "POST");
  check_error(ask(door.port(), "POST", "/v1/completions", "{"), 400, "invalid_value");
  check_error(
      post(door.port(), "/v1/completions", completion({{"model", "x"}})), 404, "model_not_found");
  const auto unknown = post(door.port(), "/v1/completions", completion({{"temprature", 1}}));
  check_error(unknown, 400, "unknown_parameter");
  BOOST_TEST(json_of(unknown).at("error").at("param") == "temprature");
  check_error(post(door.port(), "/v1/completions", completion({{"n", 129}})), 400, "invalid_value");
  BOOST_TEST(ask(door.port(), "GET", "/live", {}, {{"bad header", "x"}}).status == 400);
}

BOOST_AUTO_TEST_CASE(what_the_backend_refuses_has_its_status) { // F-1
  front_door_fixture door;
  door.backend.refusal = fail(errc::queue_full, "router: full");
  check_error(post(door.port(), "/v1/completions", completion()), 429, "queue_full");
  door.backend.refusal = fail(errc::closed, "router: draining");
  check_error(post(door.port(), "/v1/completions", completion()), 503, "closed");
  door.backend.refusal = fail(errc::invalid_argument, "router: client key");
  check_error(post(door.port(), "/v1/completions", completion()), 409, "idempotency_key_in_use");
  door.backend.refusal.reset();
  door.backend.checks = fail(errc::invalid_argument, "prompt: too long");
  const auto refused = post(door.port(), "/v1/completions", completion());
  BOOST_TEST(refused.status == 400);
  BOOST_TEST(json_of(refused).at("error").at("param") == "prompt");
  BOOST_TEST(ask(door.port(), "GET", "/health").status == 503);
}

BOOST_AUTO_TEST_CASE(before_the_model_is_there_only_life_is_reported) { // F-4
  front_door_fixture door({}, false);
  BOOST_TEST(ask(door.port(), "GET", "/live").status == 200);
  check_error(ask(door.port(), "GET", "/ready"), 503, "closed");
  check_error(post(door.port(), "/v1/completions", completion()), 503, "closed");
  door.door->open(door.backend);
  BOOST_TEST(ask(door.port(), "GET", "/ready").status == 200);
  door.backend.drains = true;
  check_error(ask(door.port(), "GET", "/ready"), 503, "closed");
}

BOOST_AUTO_TEST_CASE(a_whole_completion_has_text_reason_and_usage) { // G-1
  front_door_fixture door;
  auto client = send(door.port(), "/v1/completions", completion({{"max_tokens", 9}, {"seed", 3}}));
  const auto one = door.backend.wait_for(0);
  BOOST_TEST(*one->order.params.max_tokens == 9);
  BOOST_TEST(*one->order.params.seed == 3U);
  const auto ids = door.ids_of(" there was a woman.");
  door.push(*one->streams[0], ids, finish_reason::length);
  const auto got = client.read();
  BOOST_TEST(got.status == 200);
  const auto value = json_of(got);
  BOOST_TEST(value.at("object") == "text_completion");
  BOOST_TEST(value.at("choices").at(0).at("text") == " there was a woman.");
  BOOST_TEST(value.at("choices").at(0).at("finish_reason") == "length");
  BOOST_TEST(value.at("usage").at("completion_tokens") == ids.size());
  BOOST_TEST(value.at("usage").at("prompt_tokens") == one->order.token_ids.size());
  BOOST_TEST(!got.headers.at("idempotency-key").empty());
}

BOOST_AUTO_TEST_CASE(a_streamed_chat_begins_with_its_role_and_ends_with_usage_and_done) { // G-1
  front_door_fixture door;
  auto client = send(door.port(),
                     "/v1/chat/completions",
                     {{"model", "tiny"},
                      {"messages", {{{"role", "user"}, {"content", "Hi"}}}},
                      {"stream", true},
                      {"stream_options", {{"include_usage", true}}}});
  const auto one = door.backend.wait_for(0);
  const auto ids = door.ids_of(" a little old woman");
  door.push(*one->streams[0], ids, finish_reason::stop);
  const auto events = read_stream(client);
  BOOST_REQUIRE(events.size() >= 4U);
  BOOST_TEST(json::parse(events.front().data).at("choices").at(0).at("delta").at("role")
             == "assistant");
  BOOST_TEST(*events.front().id == "0");
  const auto& last = events[events.size() - 3];
  BOOST_TEST(*last.id == std::to_string(ids.size() + 1)); // I-1
  BOOST_TEST(!events[events.size() - 2].id.has_value());
  BOOST_TEST(json::parse(events[events.size() - 2].data).at("usage").at("completion_tokens")
             == ids.size());
  BOOST_TEST(events.back().data == "[DONE]");
  const auto choices = choices_in(events);
  BOOST_TEST(choices.at(0).text == " a little old woman");
  BOOST_TEST(choices.at(0).reason == "stop");
  BOOST_TEST(choices.at(0).ends == 1);
}

BOOST_AUTO_TEST_CASE(several_prompts_and_choices_keep_their_indices_and_echo_their_prompt) {
  front_door_fixture door;
  auto client = send(
      door.port(),
      "/v1/completions",
      {{"model", "tiny"}, {"prompt", {"One", "Two"}}, {"n", 2}, {"echo", true}, {"stream", true}});
  for (std::size_t prompt = 0; prompt < 2; ++prompt) {
    const auto one = door.backend.wait_for(prompt);
    for (std::size_t i = 0; i < 2; ++i) {
      door.push(
          *one->streams[i], door.ids_of(prompt == 0 ? " king" : " queen"), finish_reason::length);
    }
  }
  const auto choices = choices_in(read_stream(client));
  BOOST_REQUIRE(choices.size() == 4U);
  BOOST_TEST(choices[0].text == "One king");
  BOOST_TEST(choices[1].text == "One king");
  BOOST_TEST(choices[2].text == "Two queen");
  BOOST_TEST(choices[3].text == "Two queen");
}

BOOST_AUTO_TEST_CASE(a_stop_string_is_named_and_cancels_the_rest) {
  front_door_fixture door;
  auto client = send(door.port(), "/v1/completions", completion({{"stop", "old"}}));
  const auto one = door.backend.wait_for(0);
  door.push(*one->streams[0], door.ids_of(" a little old woman"));
  const auto choice = json_of(client.read()).at("choices").at(0);
  BOOST_TEST(choice.at("text") == " a little ");
  BOOST_TEST(choice.at("finish_reason") == "stop");
  BOOST_TEST(choice.at("stop_reason") == "old");
  door.backend.wait_for_cancels(*one, 1);
}

BOOST_AUTO_TEST_CASE(log_probabilities_name_tokens_as_text) {
  front_door_fixture door;
  auto client = send(door.port(), "/v1/completions", completion({{"logprobs", 0}}));
  const auto one = door.backend.wait_for(0);
  door.push(*one->streams[0], door.ids_of(" old woman"), finish_reason::length);
  const auto logprobs = json_of(client.read()).at("choices").at(0).at("logprobs");
  std::string joined;
  for (const auto& token : logprobs.at("tokens")) {
    joined += token.get<std::string>();
  }
  BOOST_TEST(joined == " old woman");
}

BOOST_AUTO_TEST_CASE(a_failure_is_an_error_or_an_error_event) { // G-4
  front_door_fixture door;
  auto whole = send(door.port(), "/v1/completions", completion());
  const auto first = door.backend.wait_for(0);
  first->streams[0]->push({.reason = finish_reason::failed, .message = "poison"});
  check_error(whole.read(), 500, "internal");
  auto stream = send(door.port(), "/v1/completions", completion({{"stream", true}}));
  const auto second = door.backend.wait_for(1);
  door.push(*second->streams[0], door.ids_of(" old"));
  second->streams[0]->push({.position = 1, .reason = finish_reason::failed, .message = "poison"});
  const auto events = read_stream(stream);
  BOOST_TEST(
      json::parse(events.back().data).at("error").at("message").get<std::string>().find("poison")
      != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_client_that_vanishes_cancels_its_sequences) { // G-3
  front_door_fixture door;
  auto client = send(door.port(), "/v1/completions", completion({{"stream", true}, {"n", 2}}));
  const auto one = door.backend.wait_for(0);
  client.reset();
  door.backend.wait_for_cancels(*one, 2);
  auto whole = send(door.port(), "/v1/completions", completion());
  const auto other = door.backend.wait_for(1);
  whole.reset();
  door.backend.wait_for_cancels(*other, 1);
}

BOOST_AUTO_TEST_CASE(a_client_that_named_its_request_may_come_back_for_a_while) { // G-3, L-4
  for (const auto time : {0s, 3600s}) {
    actors::front_door_config config;
    config.return_time = time;
    front_door_fixture door(std::move(config));
    auto client = send(door.port(),
                       "/v1/completions",
                       completion({{"stream", true}}),
                       {{"Idempotency-Key", "mine"}});
    const auto one = door.backend.wait_for(0);
    client.reset();
    if (time == 0s) {
      door.backend.wait_for_cancels(*one, 1);
      continue;
    }
    while (door.door->answers_under_way() > 0) {
      std::this_thread::yield();
    }
    BOOST_TEST(one->cancels == 0);
    door.door->close();
    BOOST_TEST(one->cancels == 1, "nobody reads it any more");
  }
}

BOOST_AUTO_TEST_CASE(a_slow_reader_takes_no_more_from_its_stream_than_it_reads) { // G-2
  actors::front_door_config config;
  config.http.bounds.output_high_bytes = 4096;
  config.http.bounds.output_low_bytes = 1024;
  config.http.bounds.send_buffer_bytes = 4096;
  front_door_fixture door(std::move(config));
  http_client client(make_client_socket(4096), door.port());
  client.send(request_text(
      "POST", "/v1/completions", completion({{"stream", true}, {"max_tokens", 200}}).dump()));
  const auto one = door.backend.wait_for(0);
  const auto ids = door.ids_of(" old");
  constexpr std::int32_t tokens = 20000;
  for (std::int32_t i = 0; i < tokens; ++i) {
    door.push(
        *one->streams[0], ids, i + 1 == tokens ? finish_reason::length : finish_reason::none, i);
  }
  const auto events = read_stream(client);
  BOOST_TEST(choices_in(events).at(0).text.size() == static_cast<std::size_t>(tokens) * 4);
  BOOST_TEST(events.back().data == "[DONE]");
}

BOOST_AUTO_TEST_CASE(who_comes_back_gets_what_follows_its_event) { // F-3, G-1, D-5
  front_door_fixture door;
  const auto ids = door.ids_of(" caf\u00e9 \u4e2d\u6587 a little old wom\u00e4n and a wo");
  const auto body = completion({{"stream", true}, {"n", 2}, {"stop", "wolf"}});
  const auto reference =
      *actors::text_stream::make({.tokenizer = demo_tokenizer(), .stop = {"wolf"}});
  door.push(*reference, ids, finish_reason::length);
  std::vector<std::string> told{""}; // what so many tokens give
  for (std::size_t i = 0; i < ids.size(); ++i) {
    told.push_back(told.back() + (*reference->take(1))->text);
  }
  BOOST_TEST(told.back() == " caf\u00e9 \u4e2d\u6587 a little old wom\u00e4n and a wo");
  told.push_back(told.back()); // and the end
  std::set<std::uint64_t> keys;
  for (std::size_t had = 0; had < told.size(); ++had) {
    const auto other = ids.size() - std::min(had, ids.size());
    const auto id = std::to_string(had) + "-" + std::to_string(other);
    auto client = send(
        door.port(), "/v1/completions", body, {{"Idempotency-Key", "k1"}, {"Last-Event-ID", id}});
    const auto one = door.backend.wait_for(had);
    keys.insert(one->order.client_key);
    for (const auto& stream : one->streams) {
      door.push(*stream, ids, finish_reason::length);
    }
    const auto events = read_stream(client);
    BOOST_TEST(events.back().data == "[DONE]");
    auto rest = choices_in(events);
    rest.resize(2);
    // No event has the last token without the end: who claims so gets the end alone.
    BOOST_TEST(rest[0].text == (had == ids.size() ? "" : told.back().substr(told[had].size())),
               "behind " << id);
    BOOST_TEST(rest[0].ends == (had > ids.size() ? 0 : 1), "behind " << id);
    if (other != ids.size()) {
      BOOST_TEST(told[other] + rest[1].text == told.back(), "behind " << id);
    }
  }
  BOOST_TEST(keys.size() == 1U, "one name is one key");
}

BOOST_AUTO_TEST_CASE(names_and_event_ids_that_make_no_sense_are_refused) { // F-3
  front_door_fixture door;
  const auto stream = completion({{"stream", true}});
  const auto refused = [&](const json& body, const header_list& headers, const char* param) {
    const auto got = post(door.port(), "/v1/completions", body, headers);
    check_error(got, 400, "invalid_value");
    BOOST_TEST(json_of(got).at("error").at("param") == param);
  };
  refused(stream, {{"Idempotency-Key", std::string(300, 'x')}}, "Idempotency-Key");
  refused(stream, {{"Last-Event-ID", "3"}}, "Last-Event-ID");
  refused(completion(), {{"Idempotency-Key", "k"}, {"Last-Event-ID", "3"}}, "Last-Event-ID");
  for (const char* id : {"", "x", "3-4", "3-", "-3", "99999999999"}) {
    refused(stream, {{"Idempotency-Key", "k"}, {"Last-Event-ID", id}}, "Last-Event-ID");
  }
}

BOOST_AUTO_TEST_CASE(requests_beyond_the_queue_are_told_to_come_again) { // F-2
  actors::front_door_config config;
  config.submit_threads = 1;
  config.submit_queue_max = 1;
  front_door_fixture door(std::move(config));
  door.backend.hold(true);
  std::vector<http_client> clients;
  std::vector<pollfd> answered;
  for (int i = 0; i < 3; ++i) { // one is submitted, one waits
    clients.push_back(send(door.port(), "/v1/completions", completion()));
    answered.push_back({clients.back().fd(), POLLIN, 0});
  }
  BOOST_REQUIRE(
      ::poll(answered.data(), answered.size(), std::chrono::milliseconds(patience).count()) > 0);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    if (answered[i].revents != 0) {
      check_error(clients[i].read(), 429, "queue_full");
    }
  }
  BOOST_TEST(ask(door.port(), "GET", "/live").status == 200, "io threads go on");
  door.backend.hold(false);
}

BOOST_AUTO_TEST_CASE(without_a_legal_key_nothing_is_told_and_nothing_done) { // F-5
  config::server_section settings;
  settings.api_key = config::secret("sesame");
  actors::front_door_config config;
  config.keys = *actors::api_keys::load(settings);
  front_door_fixture door(std::move(config));
  for (const char* path : {"/v1/models", "/v1/cluster", "/version", "/nothing"}) {
    check_error(ask(door.port(), "GET", path), 401, "invalid_api_key");
  }
  for (const char* value :
       {"sesame", "Bearer", "Bearer ", "Bearer sesam", "Bearer sesames", "Basic sesame"}) {
    BOOST_TEST(ask(door.port(), "GET", "/v1/models", {}, {{"Authorization", value}}).status == 401,
               value);
  }
  BOOST_TEST(ask(door.port(), "GET", "/v1/models", {}, {{"Authorization", "Bearer sesame"}}).status
             == 200);
  BOOST_TEST(ask(door.port(), "GET", "/v1/models", {}, {{"Authorization", "bearer  sesame"}}).status
             == 200);
  for (const char* path : {"/health", "/live", "/ready"}) {
    BOOST_TEST(ask(door.port(), "GET", path).status == 200, path);
  }
}

BOOST_AUTO_TEST_CASE(a_door_that_closes_cuts_its_answers_and_cancels_what_they_read) { // G-4, L-3
  front_door_fixture door;
  auto stream = send(door.port(), "/v1/completions", completion({{"stream", true}}));
  const auto first = door.backend.wait_for(0);
  auto whole = send(door.port(), "/v1/completions", completion(), {{"Idempotency-Key", "mine"}});
  const auto second = door.backend.wait_for(1);
  door.door->close();
  BOOST_TEST(first->cancels == 1);
  BOOST_TEST(second->cancels == 1);
  BOOST_TEST(stream.read_to_end().find("[DONE]") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_drain_lets_answers_end) {
  front_door_fixture door;
  auto client = send(door.port(), "/v1/completions", completion({{"stream", true}}));
  const auto one = door.backend.wait_for(0);
  door.push(*one->streams[0], door.ids_of(" old"));
  read_until(client, "\"text\"");
  BOOST_TEST((door.door->drain(door.time.now()).error().code == errc::timed_out));
  door.push(*one->streams[0], door.ids_of(" woman"), finish_reason::length, 1);
  read_until(client, "[DONE]");
  BOOST_TEST(door.door->drain(door.time.now() + patience).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
