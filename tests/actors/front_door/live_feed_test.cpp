// The live page's feed: one producer for all who watch, what they are told, and what its snapshots say.
#include "actors/front_door/live_feed.hpp"

#include "tests/actors/front_door/front_door_fixture.hpp"

#include "actors/control/protocol.hpp"
#include "actors/front_door/live_page.hpp"
#include "actors/front_door/live_snapshot.hpp"

#include "transport/http/server.hpp"

#include <openssl/evp.h>
#include <thread>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;
using kind = fault_moment_kind;

namespace {

constexpr std::string_view watch_request = "GET /v1/cluster/events HTTP/1.1\r\nHost: t\r\n\r\n";

/// The head of the answer to somebody who leaves at once.
std::string head_for_one_more(std::uint16_t port) {
  http_client client(port);
  client.send(watch_request);
  return client.take_until("\r\n\r\n");
}

/// The head of the answer has been read.
http_client watch(std::uint16_t port, int receive_buffer_bytes = 0) {
  http_client client(port, receive_buffer_bytes);
  client.send(watch_request);
  const auto head = client.take_until("\r\n\r\n");
  BOOST_REQUIRE_MESSAGE(head.starts_with("HTTP/1.1 200"), head);
  return client;
}

/// The next event of a stream whose chunks are whole events.
sent_event next_event(http_client& client) {
  std::string text;
  BOOST_REQUIRE(client.take_chunk(text));
  return events_in(text).at(0);
}

/// A feed behind a server of its own. What is produced is the number of the snapshot, and `padding` behind it.
struct feed_fixture {
  explicit feed_fixture(live_feed_settings settings, std::size_t padding = 0)
      : feed(
          settings,
          [this, padding] { return std::to_string(++made) + std::string(padding, '.'); },
          time) {
    http::server_config config;
    config.port = 0;
    config.io_threads = 1;
    config.bounds.send_buffer_bytes = 4096;
    server = *http::server::start(config, [this](std::shared_ptr<http::exchange> with) {
      if (with->request().path == "/ping") {
        with->reply({.status = 200, .headers = {}, .body = "pong"});
      } else if (!feed.add(with)) {
        with->reply({.status = 503, .headers = {}, .body = {}});
      }
    });
  }

  ~feed_fixture() {
    server->stop();
    feed.stop();
  }

  /// The feed notices with its next snapshot, or when somebody comes.
  void wait_for_watchers(std::size_t count) const {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (feed.watchers() != count) {
      BOOST_REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::yield();
    }
  }

  system_clock time;
  std::atomic<int> made{0};
  live_feed feed;
  std::unique_ptr<http::server> server;
};

cluster_observation look(std::int64_t at_ns, std::uint64_t tokens) {
  return {.generated_tokens = tokens, .at_ns = at_ns};
}

/// With one observation of `value` seconds more than before.
metrics::histogram_snapshot histogram_of(std::vector<std::uint64_t> counts) {
  return {.bounds = {0.1, 0.2, 0.4}, .counts = std::move(counts), .sum = 0};
}

constexpr std::int64_t second_ns = 1'000'000'000;

} // namespace

BOOST_AUTO_TEST_SUITE(live_feeds)

BOOST_AUTO_TEST_CASE(who_comes_gets_a_snapshot_at_once_which_is_made_once_for_all) { // P-1, P-5
  feed_fixture fixture({.interval = 1h, .watchers_max = 8});
  for (int i = 0; i < 5; ++i) {
    auto client = watch(fixture.server->port());
    const auto event = next_event(client);
    BOOST_TEST(event.data == "1");
    BOOST_TEST(*event.id == "1");
  }
  BOOST_TEST(fixture.made == 1);
}

BOOST_AUTO_TEST_CASE(all_who_watch_are_told_the_same_snapshots) { // P-1
  feed_fixture fixture({.interval = 2ms, .watchers_max = 8});
  std::vector<http_client> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(watch(fixture.server->port()));
  }
  for (auto& one : clients) {
    int last = 0;
    for (int i = 0; i < 20; ++i) {
      const auto event = next_event(one);
      BOOST_TEST(
          event.data
          == *event.id); // the n-th call of the producer made the n-th snapshot, whoever got it
      BOOST_TEST(std::stoi(event.data) > last);
      last = std::stoi(event.data);
    }
  }
  BOOST_TEST(fixture.feed.produced() <= static_cast<std::uint64_t>(fixture.made.load()));
}

BOOST_AUTO_TEST_CASE(nothing_is_produced_while_nobody_watches) { // P-2
  feed_fixture fixture({.interval = 1ms, .watchers_max = 8});
  BOOST_TEST(fixture.made == 0);
  {
    auto client = watch(fixture.server->port());
    next_event(client);
    next_event(client);
  }
  fixture.wait_for_watchers(0);
  const int made = fixture.made;
  http_client other(fixture.server->port());
  for (int i = 0; i < 200; ++i) { // far longer than the interval
    BOOST_TEST(other.ask("GET /ping HTTP/1.1\r\nHost: t\r\n\r\n").body == "pong");
  }
  BOOST_TEST(fixture.made == made);
  auto client = watch(fixture.server->port());
  BOOST_TEST(next_event(client).data == std::to_string(made + 1));
}

BOOST_AUTO_TEST_CASE(a_slow_watcher_skips_snapshots_and_delays_nobody) { // P-3
  constexpr std::size_t large = std::size_t{48} << 10U; // more than the kernel takes for either
  feed_fixture fixture({.interval = 1ms, .watchers_max = 8}, large);
  auto slow = watch(fixture.server->port(), 4096);
  auto quick = watch(fixture.server->port());
  int last = 0;
  for (int i = 0; i < 50; ++i) {
    last = std::stoi(next_event(quick).data);
  }
  std::vector<int> told;
  while (told.size() < 5 && (told.empty() || told.back() < last)) {
    told.push_back(std::stoi(next_event(slow).data));
  }
  // One, or what the kernel took besides; what is told behind them is of now.
  BOOST_TEST(told.back() >= last, "it was told " << told.size() << " up to " << told.back());
  BOOST_TEST(told.size() >= 2U);
}

BOOST_AUTO_TEST_CASE(there_are_never_more_watchers_than_allowed) { // P-4
  feed_fixture fixture({.interval = 1ms, .watchers_max = 2});
  auto first = watch(fixture.server->port());
  auto second = watch(fixture.server->port());
  BOOST_TEST(head_for_one_more(fixture.server->port()).starts_with("HTTP/1.1 503"));
  BOOST_TEST(fixture.feed.watchers() == 2U);
  first.close();
  fixture.wait_for_watchers(1);
  auto third = watch(fixture.server->port());
  next_event(third);
}

BOOST_AUTO_TEST_CASE(its_end_is_told) { // P-6
  feed_fixture fixture({.interval = 1h, .watchers_max = 8});
  auto client = watch(fixture.server->port());
  next_event(client);
  fixture.feed.stop();
  BOOST_TEST(next_event(client).data == live_feed::end_data);
  std::string rest;
  BOOST_TEST(!client.take_chunk(rest)); // the stream is complete
  BOOST_TEST(head_for_one_more(fixture.server->port()).starts_with("HTTP/1.1 503"));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(live_windows)

BOOST_AUTO_TEST_CASE(a_rate_is_that_of_the_last_second) {
  live_window window;
  BOOST_TEST(json::parse(window.add(look(10 * second_ns, 500))).at("tokens_per_s") == 0.0);
  auto second = json::parse(window.add(look(10 * second_ns + second_ns / 2, 510)));
  BOOST_TEST(second.at("tokens_per_s") == 20.0); // there is no more than half a second
  BOOST_TEST(second.at("generated_tokens") == 510);
  BOOST_TEST(second.at("now_ms") == 10500.0);
  static_cast<void>(window.add(look(11 * second_ns, 510)));
  BOOST_TEST(json::parse(window.add(look(12 * second_ns, 540))).at("tokens_per_s") == 30.0);
}

BOOST_AUTO_TEST_CASE(percentiles_are_those_of_the_last_seconds) {
  live_window window;
  auto now = look(0, 0);
  now.time_to_first_token = histogram_of({100, 0, 0, 0}); // before anybody watched
  now.inter_token_latency = histogram_of({0, 0, 0, 0});
  auto told = json::parse(window.add(now)).at("latency");
  BOOST_TEST(told.at("ttft_s").at("count") == 0);
  BOOST_TEST(told.at("ttft_s").at("p50").is_null());
  now.at_ns = second_ns;
  now.time_to_first_token = histogram_of({100, 10, 0, 0});
  told = json::parse(window.add(now)).at("latency");
  BOOST_TEST(told.at("window_s") == 1.0);
  BOOST_TEST(told.at("ttft_s").at("count") == 10);
  BOOST_TEST(told.at("ttft_s").at("p50").get<double>() == 0.15, boost::test_tools::tolerance(1e-6));
  BOOST_TEST(told.at("ttft_s").at("p99").get<double>() == 0.199,
             boost::test_tools::tolerance(1e-6));
  BOOST_TEST(told.at("itl_s").at("p99").is_null());
  for (int i = 2; i <= 40; ++i) { // the ten are forgotten
    now.at_ns = i * second_ns;
    told = json::parse(window.add(now)).at("latency");
  }
  BOOST_TEST(told.at("ttft_s").at("count") == 0);
  BOOST_TEST(told.at("window_s") == 30.0);
}

BOOST_AUTO_TEST_CASE(what_replicas_have_measured_is_added_up) {
  metrics::request_metrics first(1024);
  metrics::request_metrics second(1024);
  metrics::count(first.generation_tokens, 5);
  metrics::count(second.generation_tokens, 7);
  first.time_to_first_token.observe(30ms);
  second.time_to_first_token.observe(30ms);
  second.inter_token_latency.observe(5ms);
  cluster_observation now;
  add_requests(now, first);
  add_requests(now, second);
  BOOST_TEST(now.generated_tokens == 12U);
  BOOST_TEST(now.time_to_first_token.count() == 2U);
  BOOST_TEST(now.inter_token_latency.count() == 1U);
}

BOOST_AUTO_TEST_CASE(after_a_pause_the_window_begins_anew) {
  live_window window;
  static_cast<void>(window.add(look(0, 0)));
  const auto told = json::parse(window.add(look(60 * second_ns, 100'000)));
  BOOST_TEST(told.at("tokens_per_s") == 0.0);
  BOOST_TEST(told.at("latency").at("window_s") == 0.0);
}

BOOST_AUTO_TEST_CASE(a_cluster_is_told_with_its_recoveries_however_large_it_is) {
  control::cluster_status status{.name = "a \"large\" one"};
  status.replicas.resize(2);
  for (std::int32_t rank = 0; rank < 4096; ++rank) {
    status.replicas[0].workers.push_back({.rank = rank, .state = "running", .pid = 100'000 + rank});
  }
  recovery_summary one{.replica = 1, .epoch = 7, .slots = {3, 4}};
  one.at_ns[static_cast<std::size_t>(kind::detected)] = 2 * second_ns;
  one.at_ns[static_cast<std::size_t>(kind::begun)] = 2 * second_ns + 1'500'000;
  const std::vector all{one, recovery_summary{.slots = {}}};
  const auto text = cluster_json(status, all);
  BOOST_TEST(text.size() > control::reply_bytes_max);
  const auto told = json::parse(text);
  BOOST_TEST(told.at("status").at("name") == "a \"large\" one");
  BOOST_TEST(told.at("status").at("replicas").at(0).at("workers").size() == 4096U);
  const json expected{{"replica", 1},
                      {"epoch", 7},
                      {"slots", {3, 4}},
                      {"at_ms", 2000.0},
                      {"phases_ms", {{"begun", 1.5}}}};
  BOOST_TEST(told.at("recoveries").at(0) == expected);
  BOOST_TEST(told.at("recoveries").at(1).at("phases_ms").empty());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(live_page_routes)

/// "'sha256-…'" of what stands between <tag> and </tag>.
std::string hash_source(const std::string& page, const std::string& tag) {
  const auto begin = page.find('<' + tag + '>') + tag.size() + 2;
  const auto end = page.find("</" + tag + '>');
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  EVP_Digest(page.data() + begin, end - begin, hash, &bytes, EVP_sha256(), nullptr);
  unsigned char text[64];
  const auto length = EVP_EncodeBlock(text, hash, static_cast<int>(bytes));
  return "'sha256-" + std::string(text, text + length) + '\'';
}

BOOST_AUTO_TEST_CASE(the_page_allows_its_own_style_and_script_and_nothing_else) {
  const std::string page(live_page());
  const std::string policy(live_page_policy());
  BOOST_TEST(policy.find("style-src " + hash_source(page, "style") + ';') != std::string::npos);
  BOOST_TEST(policy.find("script-src " + hash_source(page, "script") + ';') != std::string::npos);
  BOOST_TEST(policy.starts_with("default-src 'none';"));
  for (const char* not_there : {"unsafe", "http:", "https:", "*"}) {
    BOOST_TEST(policy.find(not_there) == std::string::npos, not_there);
  }
  for (const char* not_there :
       {" style=\"", " onclick", " src=", "@import", "url(", "localStorage"}) {
    BOOST_TEST(page.find(not_there) == std::string::npos, not_there);
  }
}

BOOST_AUTO_TEST_CASE(the_page_needs_no_key_and_its_feed_does) { // F-5
  config::server_section settings;
  settings.api_key = config::secret("sk-one");
  front_door_config config;
  config.keys = *api_keys::load(settings);
  front_door_fixture door(std::move(config));
  const auto page = ask(door.port(), "GET", "/");
  BOOST_TEST(page.status == 200);
  BOOST_TEST(page.body == live_page());
  BOOST_TEST(page.headers.at("content-type") == "text/html; charset=utf-8");
  BOOST_TEST(page.headers.at("content-security-policy") == live_page_policy());
  BOOST_TEST(ask(door.port(), "GET", "/nothing").status == 401); // "/" is no prefix
  BOOST_TEST(ask(door.port(), "GET", "/v1/cluster/events").status == 401);
  http_client client(door.port());
  client.send(request_text("GET", "/v1/cluster/events", "", {{"Authorization", "Bearer sk-one"}}));
  BOOST_TEST(client.take_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
  const auto event = json::parse(next_event(client).data);
  for (const char* member : {"now_ms",
                             "status",
                             "standby",
                             "generated_tokens",
                             "tokens_per_s",
                             "latency",
                             "recoveries"}) {
    BOOST_TEST(event.contains(member), member);
  }
}

BOOST_AUTO_TEST_CASE(too_many_watchers_are_told_to_come_later) { // F-7
  front_door_config config;
  config.live = {.interval = 1h, .watchers_max = 1};
  front_door_fixture door(std::move(config));
  auto first = watch(door.port());
  next_event(first);
  const auto refused = ask(door.port(), "GET", "/v1/cluster/events");
  BOOST_TEST(refused.status == 503);
  BOOST_TEST(json_of(refused).at("error").at("code") == "too_many_watchers");
  BOOST_TEST(refused.headers.contains("retry-after"));
  BOOST_TEST(door.backend.looks == 1);
}

BOOST_AUTO_TEST_CASE(a_door_that_drains_does_not_wait_for_watchers) { // F-7
  front_door_fixture door;
  auto client = watch(door.port());
  next_event(client);
  BOOST_TEST(door.door->drain(door.time.now() + 10s).has_value());
}

BOOST_AUTO_TEST_CASE(without_a_backend_there_is_the_page_and_no_feed) { // F-4
  front_door_fixture door({}, false);
  BOOST_TEST(ask(door.port(), "GET", "/").status == 200);
  BOOST_TEST(ask(door.port(), "GET", "/v1/cluster/events").status == 503);
  http_client client(door.port());
  client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
  BOOST_TEST(client.read(false).status == 200);
}

BOOST_AUTO_TEST_SUITE_END()
