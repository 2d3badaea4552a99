// Every state of a connection ends by its own deadline (H-4): each test shortens one of them.
#include "tests/transport/http/http_fixture.hpp"

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using http::refused_by;

namespace {

template <class Change>
http::server_config with(Change change) {
  auto config = loopback();
  change(config);
  return config;
}

const std::string hold = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

} // namespace

BOOST_AUTO_TEST_SUITE(deadlines)

BOOST_AUTO_TEST_CASE(a_client_that_says_nothing_is_closed) {
  http_fixture fixture(with([](auto& config) { config.times.idle = 500ms; }));
  auto client = fixture.connect();
  BOOST_TEST(client.is_closed());
  auto other = fixture.connect();
  BOOST_TEST(other.ask("GET /echo?a HTTP/1.1\r\nHost: h\r\n\r\n").body == "a");
  BOOST_TEST(other.is_closed());
}

BOOST_AUTO_TEST_CASE(a_header_that_drips_is_refused) { // slowloris: bytes do not move the deadline
  http_fixture fixture(with([](auto& config) { config.times.header = 100ms; }));
  auto client = fixture.connect();
  const auto begin = std::chrono::steady_clock::now();
  pollfd answer{client.fd(), POLLIN, 0};
  client.send("GET / HTTP/1.1\r\nX: ");
  while (::poll(&answer, 1, 5) == 0) { // a byte every 5 ms until there is an answer
    client.send("a");
  }
  BOOST_TEST((std::chrono::steady_clock::now() - begin >= 100ms));
  BOOST_TEST(client.read().status == 408);
  BOOST_TEST(fixture.stats().refused_for(refused_by::late_request) == 1U);
}

BOOST_AUTO_TEST_CASE(a_body_that_does_not_come_is_refused) { // half-open, too: no end is seen
  http_fixture fixture(with([](auto& config) { config.times.body = 20ms; }));
  auto client = fixture.connect();
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  BOOST_TEST(client.read().status == 408);
  client.half_close();
  BOOST_TEST(client.is_closed());
}

BOOST_AUTO_TEST_CASE(a_body_earns_time_by_coming) {
  http_fixture fixture(with([](auto& config) {
    config.times.body = 20ms;
    config.times.body_bytes_per_second_min = 1; // each byte is worth a second
  }));
  auto client = fixture.connect();
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n"
              + std::string(100, 'a'));
  pollfd answer{client.fd(), POLLIN, 0};
  BOOST_TEST(::poll(&answer, 1, 100) == 0); // five times the base
  client.send(std::string(100, 'a'));
  BOOST_TEST(client.read().status == 200);
}

BOOST_AUTO_TEST_CASE(a_body_that_drips_is_refused) {
  http_fixture fixture(with([](auto& config) {
    config.times.body = 50ms;
    config.times.body_bytes_per_second_min = 1'000'000;
  }));
  auto client = fixture.connect();
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  pollfd answer{client.fd(), POLLIN, 0};
  while (::poll(&answer, 1, 5) == 0) {
    client.send("1\r\na\r\n");
  }
  BOOST_TEST(client.read().status == 408);
}

BOOST_AUTO_TEST_CASE(a_reader_that_takes_nothing_has_gone) { // E-2
  http_fixture fixture(with([](auto& config) {
    config.times.write = 50ms;
    config.bounds.send_buffer_bytes = 16384;
  }));
  auto client = fixture.connect(4096);
  client.send(hold);
  const auto one = fixture.next();
  tally gone;
  one->on_gone([&gone] { gone.add(); });
  BOOST_TEST(one->start_stream(200, {}));
  while (one->write(std::string(1000, 'a')) == http::write_outcome::accepted) {
  }
  BOOST_TEST(gone.reaches(1));
  BOOST_TEST(fixture.stats().refused_for(refused_by::reader) == 1U);
  client.read_to_end();
  BOOST_TEST(client.was_reset());
}

BOOST_AUTO_TEST_CASE(a_slow_reader_that_takes_something_stays) {
  http_fixture fixture(with([](auto& config) {
    config.times.write = 2s;
    config.bounds.send_buffer_bytes = 16384;
  }));
  auto client = fixture.connect(4096);
  client.send(hold);
  fixture.next()->reply({.body = std::string(400'000, 'a')});
  const auto begin = std::chrono::steady_clock::now();
  std::size_t got = 0;
  pollfd never{-1, POLLIN, 0};
  client.take_until("\r\n\r\n");
  while (std::chrono::steady_clock::now() - begin < 3s) { // longer than the time for one write
    ::poll(&never, 1, 50);                                // the pace of the reader
    got += client.take(4000).size();
  }
  BOOST_TEST(client.take(400'000 - got).size() + got == 400'000U);
}

BOOST_AUTO_TEST_CASE(a_handler_that_computes_has_no_deadline_here) {
  http_fixture fixture(with([](auto& config) {
    config.times.idle = 500ms;
    config.times.header = config.times.body = config.times.write = 5ms;
  }));
  auto client = fixture.connect();
  client.send(hold);
  const auto one = fixture.next();
  pollfd answer{client.fd(), POLLIN, 0};
  BOOST_TEST(::poll(&answer, 1, 1000) == 0);
  one->reply({.body = "late"});
  BOOST_TEST(client.read().body == "late");
}

BOOST_AUTO_TEST_CASE(a_client_that_does_not_end_its_side_is_closed) { // half-closed by us
  http_fixture fixture(with([](auto& config) { config.times.linger = 20ms; }));
  auto client = fixture.connect();
  client.send("GET / HTTP/1.1\r\n\r\n");
  BOOST_TEST(client.read().status == 400);
  BOOST_TEST(client.is_closed());
  const auto end = std::chrono::steady_clock::now() + patience;
  BOOST_TEST(fixture.server().drain(end).has_value()); // nothing is left of it on our side either
}

BOOST_AUTO_TEST_SUITE_END()
