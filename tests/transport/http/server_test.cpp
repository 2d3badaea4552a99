// Requests and answers over real sockets: framing of answers, keep-alive, pipelining, errors, CORS, start.
#include "tests/support/open_fds.hpp"
#include "tests/transport/http/http_fixture.hpp"

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::string_view get_echo = "GET /echo?a HTTP/1.1\r\nHost: h\r\n\r\n";

std::string get(std::string_view path, std::string_view headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n" + std::string(headers) + "\r\n";
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(servers, http_fixture)

BOOST_AUTO_TEST_CASE(answers_and_keeps_the_connection) { // H-1
  auto client = connect();
  for (int i = 0; i < 3; ++i) {
    const auto got = client.ask(get_echo);
    BOOST_TEST(got.status == 200);
    BOOST_TEST(got.body == "a");
    BOOST_TEST(got.headers.at("x-method") == "GET");
    BOOST_TEST(got.headers.at("date").ends_with(" GMT"));
    BOOST_TEST(!got.headers.contains("connection"));
  }
  BOOST_TEST(stats().connections_accepted == 1U);
  BOOST_TEST(stats().requests == 3U);
  BOOST_TEST(stats().answers[2] == 3U);
}

BOOST_AUTO_TEST_CASE(hands_the_handler_a_complete_request) {
  auto client = connect();
  client.send("POST /x/%41?q=1 HTTP/1.1\r\nHost: h\r\nX-Key: v\r\nContent-Length: 5\r\n\r\nhel");
  client.send("lo");
  const auto one = next();
  const auto& asked = one->request();
  BOOST_TEST(asked.method == "POST");
  BOOST_TEST(asked.path == "/x/%41");
  BOOST_TEST(asked.query == "q=1");
  BOOST_TEST(*asked.find("x-key") == "v");
  BOOST_TEST(asked.find("x-other") == nullptr);
  BOOST_TEST(asked.body == "hello");
  BOOST_TEST(asked.peer.starts_with("127.0.0.1:"));
  BOOST_TEST(one->reply({.status = 201, .body = "made"}));
  BOOST_TEST(client.read().status == 201);
}

BOOST_AUTO_TEST_CASE(has_one_answer_for_each_exchange) { // E-1
  auto client = connect();
  client.send(get("/hold"));
  const auto one = next();
  BOOST_TEST(one->reply({.body = "first"}));
  BOOST_TEST(!one->reply({.body = "second"}));
  BOOST_TEST(!one->start_stream(200, {}));
  BOOST_TEST((one->write("x") == http::write_outcome::ended));
  one->finish();
  BOOST_TEST(client.read().body == "first");
  BOOST_TEST(client.ask(get_echo).status == 200);
}

BOOST_AUTO_TEST_CASE(says_500_when_nobody_answers) { // E-4
  auto client = connect();
  BOOST_TEST(client.ask(get("/drop")).status == 500);
  BOOST_TEST(client.ask(get("/throw")).status == 500);
  client.send(get("/hold"));
  next().reset();
  BOOST_TEST(client.read().status == 500);
  BOOST_TEST(client.ask(get_echo).status == 200);
}

BOOST_AUTO_TEST_CASE(says_500_for_an_answer_that_cannot_be_sent) { // M-2
  auto client = connect();
  client.send(get("/hold"));
  BOOST_TEST(next()->reply({.headers = {{"X", "a\r\nY: b"}}}));
  const auto got = client.read();
  BOOST_TEST(got.status == 500);
  BOOST_TEST(!got.headers.contains("y"));
  client.send(get("/hold"));
  BOOST_TEST(!next()->start_stream(200, {{"Content-Length", "1"}}));
  BOOST_TEST(client.read().status == 500);
  client.send(get("/hold"));
  BOOST_TEST(next()->reply({.status = 99}));
  BOOST_TEST(client.read().status == 500);
}

BOOST_AUTO_TEST_CASE(serves_pipelined_requests_in_order) { // H-3
  auto client = connect();
  client.send(get("/hold?1") + get("/hold?2") + get("/echo?3") + get("/hold?4"));
  const auto first = next();
  BOOST_TEST(first->request().query == "1");
  BOOST_TEST(!has_request()); // one at a time
  first->reply({.body = "1"});
  next()->reply({.body = "2"});
  next()->reply({.body = "4"});
  for (const std::string body : {"1", "2", "3", "4"}) {
    BOOST_TEST(client.read().body == body);
  }
}

BOOST_AUTO_TEST_CASE(serves_many_requests_that_were_sent_at_once) { // more than one turn of a lane
  auto client = connect();
  std::string all;
  for (int i = 0; i < 200; ++i) {
    all += get("/echo?" + std::to_string(i));
  }
  client.send(all);
  for (int i = 0; i < 200; ++i) {
    BOOST_TEST_REQUIRE(client.read().body == std::to_string(i));
  }
}

BOOST_AUTO_TEST_CASE(answers_what_was_sent_before_the_client_half_closed) {
  auto client = connect();
  client.send(get("/echo?1") + get("/echo?2"));
  client.half_close();
  BOOST_TEST(client.read().body == "1");
  BOOST_TEST(client.read().body == "2");
  BOOST_TEST(client.is_closed());

  auto slow = connect();
  slow.send(get("/hold?1") + get("/echo?2"));
  slow.half_close();
  const auto one = next();
  tally gone;
  one->on_gone([&gone] { gone.add(); });
  BOOST_TEST(gone.reaches(1));
  BOOST_TEST(one->reply({.body = "late"}));
  BOOST_TEST(slow.read().body == "late");
  BOOST_TEST(slow.read().body == "2");
  BOOST_TEST(slow.is_closed());
}

BOOST_AUTO_TEST_CASE(refuses_half_a_request_of_a_client_that_half_closed) {
  auto client = connect();
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
  client.half_close();
  BOOST_TEST(client.read().status == 400);
  BOOST_TEST(client.is_closed());
}

BOOST_AUTO_TEST_CASE(answers_HEAD_without_a_body) {
  auto client = connect();
  client.send("HEAD /echo?abc HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto got = client.read(false);
  BOOST_TEST(got.headers.at("content-length") == "3");
  client.send("HEAD /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto one = next();
  BOOST_TEST(one->start_stream(200, {}));
  BOOST_TEST((one->write("not sent") == http::write_outcome::accepted));
  one->finish();
  BOOST_TEST(client.read(false).headers.at("transfer-encoding") == "chunked");
  BOOST_TEST(client.ask(get_echo).body == "a");
}

BOOST_AUTO_TEST_CASE(sends_no_body_with_204) {
  auto client = connect();
  client.send(get("/hold"));
  next()->reply({.status = 204, .body = "nothing"});
  BOOST_TEST(!client.read().headers.contains("content-length"));
  BOOST_TEST(client.ask(get_echo).body == "a");
}

BOOST_AUTO_TEST_CASE(speaks_HTTP_1_0) {
  auto client = connect();
  client.send("GET /echo?a HTTP/1.0\r\n\r\n");
  BOOST_TEST(client.read().headers.at("connection") == "close");
  BOOST_TEST(client.is_closed());
  auto keeping = connect();
  for (int i = 0; i < 2; ++i) {
    const auto got = keeping.ask("GET /echo?a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    BOOST_TEST(got.headers.at("connection") == "keep-alive");
  }
}

BOOST_AUTO_TEST_CASE(closes_when_the_client_wishes) {
  auto client = connect();
  BOOST_TEST(client.ask(get("/echo?a", "Connection: close\r\n")).headers.at("connection")
             == "close");
  BOOST_TEST(client.is_closed());
}

BOOST_AUTO_TEST_CASE(says_continue_to_who_waits_for_it) {
  auto client = connect();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  for (int i = 0; i < 2; ++i) {
    client.send(head);
    BOOST_TEST(client.read().status == 100);
    client.send("h");
    client.send("i");
    BOOST_TEST(client.read().body == "hi");
  }
  BOOST_TEST(client.ask(head + "ho").body == "ho"); // it did not wait
  client.send(
      "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
  BOOST_TEST(client.read().status == 413);
  BOOST_TEST(client.is_closed());
}

BOOST_AUTO_TEST_CASE(refuses_and_closes) { // H-2
  for (const auto& [bytes, status] : std::initializer_list<std::pair<std::string, int>>{
           {"GET / HTTP/1.1\nHost: h\n\n", 400},
           {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
           {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", 414},
           {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(40000, 'a') + "\r\n\r\n", 431},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8388609\r\n\r\n", 413},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            400}}) {
    auto client = connect();
    client.send(bytes);
    const auto got = client.read();
    BOOST_TEST(got.status == status);
    BOOST_TEST(got.headers.at("connection") == "close");
    client.half_close();
    BOOST_TEST(client.is_closed());
  }
  BOOST_TEST(!has_request());
  const auto counts = stats();
  BOOST_TEST(counts.refused_for(http::refused_by::malformed) == 2U);
  BOOST_TEST(counts.refused_for(http::refused_by::too_large) == 3U);
  BOOST_TEST(counts.refused_for(http::refused_by::unsupported) == 2U);
  BOOST_TEST(counts.answers[4] == 5U);
  BOOST_TEST(counts.answers[5] == 2U);
}

BOOST_AUTO_TEST_CASE(tells_a_client_that_still_sends_why_it_is_refused) {
  auto client = connect();
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "10000\r\n" + std::string(0x10000, 'a') + "\r\n";
  for (int i = 0; i < 160; ++i) { // 10 MiB, 2 too many
    client.send(chunk);
  }
  BOOST_TEST(client.read().status == 413);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(server_settings)

BOOST_AUTO_TEST_CASE(answers_of_refusals_can_be_replaced) {
  auto config = loopback();
  config.error_answer = [](const http::refusal& cause) {
    return http::response{.status = 200, // not ours to choose
                          .headers = {{"Content-Type", "application/json"}},
                          .body = "{\"why\":\"" + std::string(cause.reason) + "\"}"};
  };
  http_fixture fixture(std::move(config));
  auto client = fixture.connect();
  const auto got = client.ask("GET / HTTP/1.1\r\n\r\n");
  BOOST_TEST(got.status == 400);
  BOOST_TEST(got.headers.at("content-type") == "application/json");
  BOOST_TEST(got.body == "{\"why\":\"exactly one host header is required\"}");
  auto other = fixture.connect();
  BOOST_TEST(other.ask(get("/drop")).body.starts_with("{\"why\":"));
}

BOOST_AUTO_TEST_CASE(answers_preflights_of_allowed_origins) {
  auto config = loopback();
  config.allowed_origins = {"https://a.example"};
  config.exposed_headers = "Idempotency-Key";
  http_fixture fixture(std::move(config));
  auto client = fixture.connect();
  const std::string preflight =
      "OPTIONS /v1 HTTP/1.1\r\nHost: h\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization\r\nOrigin: ";
  const auto leave = client.ask(preflight + "https://a.example\r\n\r\n");
  BOOST_TEST(leave.status == 204);
  BOOST_TEST(leave.headers.at("access-control-allow-origin") == "https://a.example");
  BOOST_TEST(leave.headers.at("access-control-allow-methods") == "POST");
  BOOST_TEST(leave.headers.at("access-control-allow-headers") == "authorization");
  const auto got = client.ask(get("/echo?a", "Origin: https://a.example\r\n"));
  BOOST_TEST(got.headers.at("access-control-allow-origin") == "https://a.example");
  BOOST_TEST(got.headers.at("access-control-expose-headers") == "Idempotency-Key");
  BOOST_TEST(got.headers.at("vary") == "Origin");
  BOOST_TEST(!client.ask(get("/echo?a", "Origin: https://b\r\n"))
                  .headers.contains("access-control-allow-origin"));
  BOOST_TEST(client.ask(preflight + "https://b\r\n\r\n").status == 403);
  BOOST_TEST(client.is_closed());
  BOOST_TEST(!fixture.has_request());
}

BOOST_AUTO_TEST_CASE(preflights_of_a_client_that_reads_nothing_do_not_pile_up) { // H-5
  auto config = loopback();
  config.allowed_origins = {"*"};
  config.bounds.send_buffer_bytes = 16384;
  http_fixture fixture(std::move(config));
  auto client = fixture.connect(4096);
  const timeval wait{1, 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
  const std::string one =
      "OPTIONS / HTTP/1.1\r\nHost: h\r\nOrigin: a\r\nAccess-Control-Request-Method: B\r\n\r\n";
  std::string many;
  while (many.size() < std::size_t{16} << 20U) {
    many += one;
  }
  const auto sent = ::send(client.fd(), many.data(), many.size(), MSG_NOSIGNAL);
  BOOST_TEST(sent < static_cast<ssize_t>(many.size())); // the server stopped reading
}

BOOST_AUTO_TEST_CASE(leaves_OPTIONS_to_the_handler_without_origins) {
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(
      "OPTIONS * HTTP/1.1\r\nHost: h\r\nOrigin: a\r\nAccess-Control-Request-Method: POST\r\n\r\n");
  fixture.next()->reply({.status = 405});
  BOOST_TEST(client.read().status == 405);
}

BOOST_AUTO_TEST_CASE(a_port_in_use_is_named_with_a_remedy) {
  http_fixture fixture;
  auto config = loopback();
  config.port = fixture.server().port();
  const auto second = http::server::start(std::move(config), [](exchange_ptr) {});
  BOOST_REQUIRE(!second);
  BOOST_TEST((second.error().code == errc::resource_exhausted));
  BOOST_TEST(exit_code(second.error().code) == 3);
  BOOST_TEST(second.error().context.find("(address=" + fixture.server().address() + ")")
             != std::string::npos);
  BOOST_TEST(second.error().context.find("choose another one") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_check_says_whether_a_port_is_free_and_keeps_nobody_from_it) {
  auto config = loopback();
  {
    http_fixture fixture;
    config.port = fixture.server().port();
    const auto taken = http::check_port(config);
    BOOST_REQUIRE(!taken);
    BOOST_TEST((taken.error().code == errc::resource_exhausted));
    BOOST_TEST(taken.error().context.find(fixture.server().address()) != std::string::npos);
  }
  BOOST_TEST(http::check_port(config).has_value());
  BOOST_TEST(http::server::start(config, [](exchange_ptr) {}).has_value());
  config.host = "nobody.invalid";
  BOOST_TEST((http::check_port(config).error().code == errc::not_found));
}

BOOST_AUTO_TEST_CASE(listens_on_names_and_both_families) {
  for (const std::string host : {"localhost", "::1", "::", "0.0.0.0"}) {
    auto config = loopback();
    config.host = host;
    auto started = http::server::start(
        std::move(config), [](exchange_ptr one) { one->reply({.body = one->request().peer}); });
    if (!started && host[0] == ':') {
      BOOST_TEST_MESSAGE("no IPv6 here: " << started.error().context);
      continue;
    }
    BOOST_REQUIRE(started.has_value());
    BOOST_TEST((*started)->port() != 0);
    if (host == "::" || host == "0.0.0.0") {
      http_client client((*started)->port());
      BOOST_TEST(client.ask(get_echo).body.find("127.0.0.1") != std::string::npos);
    }
  }
}

BOOST_AUTO_TEST_CASE(refuses_settings_that_cannot_work) {
  const auto code_of = [](void (*change)(http::server_config&)) {
    auto config = loopback();
    change(config);
    const auto started = http::server::start(std::move(config), [](exchange_ptr) {});
    return started ? errc::ok : started.error().code;
  };
  using config = http::server_config;
  BOOST_TEST((code_of([](config& c) { c.io_threads = 0; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](config& c) { c.io_threads = 1000; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](config& c) { c.bounds.connections_max = 0; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](config& c) { c.bounds.output_low_bytes = c.bounds.output_high_bytes; })
              == errc::invalid_argument));
  BOOST_TEST((code_of([](config& c) { c.times.idle = {}; }) == errc::invalid_argument));
  BOOST_TEST((code_of([](config& c) { c.host = "no.such.host.invalid"; }) == errc::not_found));
  BOOST_TEST((code_of([](config& c) { c.host = "192.0.2.1"; }) == errc::not_found));
}

BOOST_AUTO_TEST_CASE(leaves_no_descriptor_behind) {
  const auto before = open_fds();
  for (int i = 0; i < 3; ++i) {
    http_fixture fixture;
    auto client = fixture.connect();
    auto idle = fixture.connect();
    client.ask(get_echo);
    client.send(get("/hold"));
    fixture.next()->start_stream(200, {});
    client.send("GET");
  }
  BOOST_TEST(open_fds() == before);
}

BOOST_AUTO_TEST_SUITE_END()
