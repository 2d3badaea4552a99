// What one server may use up: connections, descriptors, memory; and how it ends (H-5).
#include "tests/support/open_fds.hpp"
#include "tests/transport/http/http_fixture.hpp"

#include <ctime>
#include <future>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using http::refused_by;

namespace {

const std::string echo = "GET /echo?a HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string hold = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

time_point soon() {
  return std::chrono::steady_clock::now() + patience;
}

/// Lowers the limit of descriptors of this process to those that are open.
class no_more_descriptors {
public:
  no_more_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest = ::dup(0); // the next one that would be given
    ::close(lowest);
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(lowest);
    ::setrlimit(RLIMIT_NOFILE, &now);
  }

  ~no_more_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  no_more_descriptors(const no_more_descriptors&) = delete;
  no_more_descriptors& operator=(const no_more_descriptors&) = delete;

private:
  rlimit before_{};
};

struct one_lane_fixture : http_fixture {
  one_lane_fixture() : http_fixture(config()) {}

  static http::server_config config() {
    auto made = loopback();
    made.io_threads = 1;
    return made;
  }
};

double cpu_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

} // namespace

BOOST_AUTO_TEST_SUITE(server_bounds)

BOOST_AUTO_TEST_CASE(turns_connections_away_beyond_the_bound) {
  auto config = loopback();
  config.bounds.connections_max = 2;
  http_fixture fixture(std::move(config));
  auto first = fixture.connect();
  auto second = fixture.connect();
  BOOST_TEST(first.ask(echo).status == 200);
  BOOST_TEST(second.ask(echo).status == 200);
  auto third = fixture.connect();
  const auto got = third.read(); // without asking
  BOOST_TEST(got.status == 503);
  BOOST_TEST(got.headers.at("connection") == "close");
  BOOST_TEST(third.is_closed());
  BOOST_TEST(fixture.stats().refused_for(refused_by::connections) == 1U);
  BOOST_TEST(first.ask(echo).status == 200);
  first.close();
  third.close();
  // The end of the first one is seen before the next one is accepted, or soon after.
  for (int status = 503; status == 503;) {
    auto next = fixture.connect();
    next.send(echo);
    status = next.read().status;
    BOOST_TEST_REQUIRE((status == 503 || status == 200));
  }
}

BOOST_AUTO_TEST_CASE(bodies_of_all_requests_together_are_bounded) {
  auto config = loopback();
  config.bounds.bodies_bytes_max = 100'000;
  http_fixture fixture(std::move(config));
  const std::string head = "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
  auto first = fixture.connect();
  first.send(head + std::string(60'000, 'a'));
  auto one = fixture.next();
  auto second = fixture.connect();
  second.send(head + std::string(60'000, 'a'));
  BOOST_TEST(second.read().status == 503);
  one->reply({});
  BOOST_TEST(first.read().status == 200);
  one.reset(); // gives its share back
  first.send(head + std::string(60'000, 'a'));
  one = fixture.next();
  BOOST_TEST(one->request().body.size() == 60'000U);
  one->reply({});
  BOOST_TEST(first.read().status == 200);
}

BOOST_AUTO_TEST_CASE(waits_for_descriptors_without_spinning) { // H-5
  http_fixture fixture;
  auto early = fixture.connect();
  BOOST_TEST(early.ask(echo).status == 200);
  auto socket = make_client_socket();
  std::optional<http_client> late;
  {
    const no_more_descriptors limit;
    late.emplace(std::move(socket),
                 fixture.server().port()); // the kernel accepts it, the server cannot
    late->send(echo);
    const auto before = cpu_seconds();
    pollfd answer{late->fd(), POLLIN, 0};
    BOOST_TEST(::poll(&answer, 1, 400) == 0);
    BOOST_TEST(cpu_seconds() - before < 0.1);
    const auto failures = [&fixture] {
      return fixture.stats().refused_for(refused_by::descriptors);
    };
    BOOST_TEST(failures() <= 20U);
    for (const auto end = soon(); failures() == 0 && std::chrono::steady_clock::now() < end;) {
      BOOST_TEST(::poll(&answer, 1, 10) == 0);
    }
    BOOST_TEST(failures() >= 1U);
    BOOST_TEST(early.ask(echo).status == 200);
  }
  BOOST_TEST(late->read().status == 200);
}

BOOST_AUTO_TEST_CASE(reads_no_more_ahead_than_its_bound) { // C-3
  auto config = loopback();
  config.bounds.read_ahead_bytes_max = 4096;
  http_fixture fixture(std::move(config));
  auto client = fixture.connect();
  client.send(hold);
  const auto one = fixture.next();
  const auto before = fixture.stats().bytes_in;
  const timeval wait{1, 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
  const std::string filling(std::size_t{32} << 20U, 'a');
  BOOST_TEST(::send(client.fd(), filling.data(), filling.size(), MSG_NOSIGNAL) < 32 << 20);
  BOOST_TEST(fixture.stats().bytes_in - before <= 4096U);
  one->reply({});
  BOOST_TEST(client.read().status == 200);
  BOOST_TEST(client.read().status == 414); // what was pipelined
}

BOOST_AUTO_TEST_CASE(idle_connections_are_cheap) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const auto before_limit = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const auto count = std::min<std::size_t>(10'000, (limit.rlim_cur - open_fds() - 100) / 2);
  {
    http_fixture fixture;
    std::vector<http_client> clients;
    clients.reserve(count);
    fixture.connect().ask(echo);
    const auto before = resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
      clients.push_back(fixture.connect());
      BOOST_TEST_REQUIRE(clients.back().ask(echo).status == 200);
    }
    const auto used = resident_bytes() - before; // of the clients, too
    const auto of_10000 = used * 10'000 / count;
    BOOST_TEST_MESSAGE(count << " idle connections: " << used / 1024 << " KiB, " << used / count
                             << " bytes each");
    BOOST_TEST(fixture.stats().connections_open >= count);
    BOOST_TEST(of_10000 <= (std::size_t{100} << 20U) * memory_factor);
    BOOST_TEST(clients.front().ask(echo).status == 200);
  }
  ::setrlimit(RLIMIT_NOFILE, &before_limit);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(server_ends, http_fixture)

BOOST_FIXTURE_TEST_CASE(drains_until_the_answers_are_complete, one_lane_fixture) {
  auto idle = connect();
  BOOST_TEST(idle.ask(echo).status == 200);
  auto streaming = connect();
  streaming.send(hold);
  const auto stream = next();
  stream->start_stream(200, {});
  streaming.take_until("\r\n\r\n");
  auto waiting = connect();
  waiting.send(hold);
  const auto one = next();
  auto half = connect();
  half.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na");
  auto ping = connect(); // what was sent before it has come in when it is answered
  BOOST_TEST(ping.ask(echo).status == 200);

  const auto early = server().drain(std::chrono::steady_clock::now() + 10ms);
  BOOST_TEST((!early && early.error().code == errc::timed_out));
  BOOST_TEST(idle.is_closed());
  BOOST_CHECK_THROW(connect(), std::runtime_error); // nobody is accepted

  auto end = std::async(std::launch::async, [this] { return server().drain(soon()); });
  one->reply({.body = "complete"});
  const auto got = waiting.read();
  BOOST_TEST(got.body == "complete");
  BOOST_TEST(got.headers.at("connection") == "close");
  BOOST_TEST((stream->write("a") == http::write_outcome::accepted));
  stream->finish();
  std::string body;
  while (streaming.take_chunk(body)) {
  }
  BOOST_TEST(body == "a");
  half.send("b");
  BOOST_TEST(half.read().body == "ab");
  for (auto* client : {&waiting, &streaming, &half}) {
    BOOST_TEST(client->is_closed());
    client->close();
  }
  BOOST_TEST(end.get().has_value());
}

BOOST_AUTO_TEST_CASE(stops_under_load) {
  std::vector<http_client> clients;
  std::vector<exchange_ptr> held;
  tally gone;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(connect());
    clients.back().send(hold);
    held.push_back(next());
    held.back()->on_gone([&gone] { gone.add(); });
    held.back()->start_stream(200, {});
  }
  std::jthread producer([&held](std::stop_token stop) {
    while (!stop.stop_requested()) {
      for (const auto& one : held) {
        (void)one->write("x");
      }
    }
  });
  server().stop();
  BOOST_TEST(gone.count() == 20);
  BOOST_TEST(stats().connections_open == 0U);
  server().stop();
  BOOST_TEST(server().drain(soon()).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
