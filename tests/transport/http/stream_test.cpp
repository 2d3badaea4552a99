// Streams: their order, slow readers, vanished clients, many producers and many streams.
#include "tests/transport/http/http_fixture.hpp"

#include <thread>

using namespace vdist;
using namespace vdist::testing;
using http::write_outcome;

namespace {

const std::string ask = "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";
const std::vector<http::header> event_stream{{"Content-Type", "text/event-stream"}};

http::server_config narrow() {
  auto config = loopback();
  config.bounds.send_buffer_bytes = 16384;
  config.bounds.output_high_bytes = 65536;
  config.bounds.output_low_bytes = 16384;
  return config;
}

constexpr int narrow_client = 4096; // bytes of a receive buffer

std::string piece(std::size_t i) {
  return std::to_string(i) + std::string(997, 'x') + '\n';
}

/// Writes pieces until the server has enough, and says how many.
std::size_t fill(http::exchange& one, std::size_t from = 0) {
  while (one.write(piece(from)) == write_outcome::accepted) {
    ++from;
  }
  return from;
}

} // namespace

BOOST_AUTO_TEST_SUITE(streams)

BOOST_AUTO_TEST_CASE(sends_each_event_when_it_is_written) {
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  const auto one = fixture.next();
  BOOST_TEST((one->write("early") == write_outcome::ended));
  BOOST_TEST(one->start_stream(200, event_stream));
  BOOST_TEST(client.take_until("\r\n\r\n").find("text/event-stream") != std::string::npos);
  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto event = http::sse_event(i, "{\"token\":\"a\"}");
    BOOST_TEST((one->write(event) == write_outcome::accepted));
    std::string got;
    BOOST_TEST(client.take_chunk(got));
    BOOST_TEST(got == event);
  }
  BOOST_TEST((one->write("") == write_outcome::accepted)); // must not end the stream
  one->finish();
  one->finish();
  BOOST_TEST(client.take(5) == "0\r\n\r\n");
  BOOST_TEST((one->write("late") == write_outcome::ended));
  client.send(ask);
  fixture.next()->reply({.body = "and goes on"});
  BOOST_TEST(client.read().body == "and goes on");
}

BOOST_AUTO_TEST_CASE(who_asks_is_told_once_how_it_is_answered) {
  http_fixture fixture;
  auto client = fixture.connect();
  std::vector<int> told; // by this thread alone: it answers
  const auto next = [&] {
    client.send(ask);
    auto one = fixture.next();
    one->on_answer([&told](int status) { told.push_back(status); });
    return one;
  };
  next()->reply({.status = 404});
  BOOST_TEST(client.read().status == 404);
  const auto stream = next();
  BOOST_TEST(stream->start_stream(200, event_stream));
  BOOST_TEST(!stream->reply({.status = 500}));
  stream->on_answer([&told](int status) { told.push_back(status); }); // too late
  stream->finish();
  BOOST_TEST(client.read().status == 200);
  next()->reply({.status = 200, .headers = {{"bad\n", ""}}}); // cannot be sent
  BOOST_TEST(client.read().status == 500);
  next().reset();
  BOOST_TEST(client.read().status == 500);
  BOOST_TEST(told == (std::vector<int>{404, 200, 500, 500}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(streams_to_HTTP_1_0_until_the_end_of_the_connection) {
  http_fixture fixture;
  auto client = fixture.connect();
  client.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  BOOST_TEST((one->write("a") == write_outcome::accepted));
  BOOST_TEST((one->write("b") == write_outcome::accepted));
  one->finish();
  const auto got = client.read();
  BOOST_TEST(got.headers.at("connection") == "close");
  BOOST_TEST(got.body == "ab");
  BOOST_TEST(!client.was_reset());
}

BOOST_AUTO_TEST_CASE(a_stream_that_was_not_finished_does_not_look_complete) { // E-4
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  BOOST_TEST((one->write("half") == write_outcome::accepted));
  one.reset();
  BOOST_TEST(client.take_until("half\r\n").size() > 0U);
  BOOST_TEST(client.is_closed()); // without a last chunk

  auto old = fixture.connect();
  old.send("GET /stream HTTP/1.0\r\n\r\n");
  one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  BOOST_TEST((one->write("half") == write_outcome::accepted));
  BOOST_TEST(old.take_until("half").size() > 0U);
  one.reset();
  old.read_to_end();
  BOOST_TEST(old.was_reset());
}

BOOST_AUTO_TEST_CASE(a_stream_that_lost_writes_does_not_look_complete) { // E-4
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  const auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  tally gone;
  one->on_gone([&gone] { gone.add(); });
  client.half_close(); // it could still read
  BOOST_TEST(gone.reaches(1));
  BOOST_TEST((one->write("lost") == write_outcome::gone));
  one->finish();
  const auto got = client.read_to_end();
  BOOST_TEST(got.ends_with("\r\n\r\n")); // the head
  BOOST_TEST(!got.ends_with("0\r\n\r\n"));
}

BOOST_AUTO_TEST_CASE(a_slow_reader_costs_a_bounded_number_of_bytes_and_delays_nobody) { // E-3
  auto config = narrow();
  config.io_threads = 1;
  http_fixture fixture(std::move(config));
  auto slow = fixture.connect(narrow_client);
  slow.send(ask);
  const auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  auto written = fill(*one);
  auto quick =
      fixture.connect(); // on the same io thread: when it has its answer, the kernel is full
  const auto is_served = [&quick] {
    return quick.ask("GET /echo?a HTTP/1.1\r\nHost: h\r\n\r\n").body == "a";
  };
  BOOST_TEST(is_served());
  written = fill(*one, written);
  BOOST_TEST(one->backlog_bytes() >= 65536U);
  BOOST_TEST(one->backlog_bytes() <= 65536U + 1100U);
  BOOST_TEST(is_served());

  tally drained;
  for (int round = 1; round <= 3; ++round) {
    one->on_drained([&drained] { drained.add(); });
    BOOST_TEST(is_served());
    BOOST_TEST(drained.count() == round - 1); // not before somebody reads
    while (drained.count() < round) {
      BOOST_TEST_REQUIRE(slow.take(1000).size() == 1000U);
    }
    BOOST_TEST(one->backlog_bytes() <= 16384U);
    written = fill(*one, written);
  }
  one->finish();
  const auto rest = slow.read_to_end_of_chunks();
  BOOST_TEST(rest.ends_with(piece(written - 1) + "\r\n0\r\n\r\n"));
}

BOOST_AUTO_TEST_CASE(a_slow_reader_gets_every_byte_in_order) { // E-3, the pull model
  http_fixture fixture(narrow());
  auto slow = fixture.connect(narrow_client);
  slow.send(ask);
  const auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  constexpr std::size_t pieces = 2000;

  struct producer {
    exchange_ptr to;
    std::size_t next = 0;

    void go_on(const std::shared_ptr<producer>& self) {
      while (next < pieces) {
        const auto outcome = to->write(piece(next));
        if (outcome == write_outcome::full) {
          return to->on_drained([self] { self->go_on(self); });
        }
        ++next;
      }
      to->finish();
    }
  };

  const auto source = std::make_shared<producer>(producer{one});
  source->go_on(source);
  std::string expected;
  for (std::size_t i = 0; i < pieces; ++i) {
    expected += piece(i);
  }
  BOOST_TEST((slow.read().body == expected));
}

BOOST_AUTO_TEST_CASE(on_drained_calls_also_when_nothing_waits) {
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  const auto one = fixture.next();
  tally drained;
  for (int i = 1; i <= 3; ++i) {
    one->on_drained([&drained] { drained.add(); });
    BOOST_TEST(drained.reaches(i));
  }
  one->reply({});
  BOOST_TEST(client.read().status == 200);
}

BOOST_AUTO_TEST_CASE(a_vanished_client_is_reported_once) { // E-2
  for (const bool by_reset : {false, true}) {
    http_fixture fixture;
    auto client = fixture.connect();
    client.send(ask);
    const auto one = fixture.next();
    BOOST_TEST(one->start_stream(200, {}));
    BOOST_TEST((one->write("a") == write_outcome::accepted));
    client.take_until("a\r\n");
    tally gone;
    one->on_gone([&gone] { gone.add(); });
    BOOST_TEST(!one->is_gone());
    by_reset ? client.reset() : client.close();
    BOOST_TEST(gone.reaches(1));
    BOOST_TEST(one->is_gone());
    BOOST_TEST((one->write("b") == write_outcome::gone));
    one->finish();
    fixture.server().stop();
    BOOST_TEST(gone.count() == 1);
    BOOST_TEST(fixture.stats().vanished == 1U);
  }
}

BOOST_AUTO_TEST_CASE(a_client_that_vanished_before_is_reported_at_once) { // E-2
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  const auto one = fixture.next();
  tally gone;
  one->on_gone([&gone] { gone.add(); });
  client.reset();
  BOOST_TEST(gone.reaches(1));
  bool is_called = false;
  one->on_gone([&is_called] { is_called = true; });
  BOOST_TEST(is_called);
}

BOOST_AUTO_TEST_CASE(nobody_is_gone_after_the_answer) { // E-2
  http_fixture fixture;
  auto client = fixture.connect();
  client.send(ask);
  auto one = fixture.next();
  tally gone;
  one->on_gone([&gone] { gone.add(); });
  one->reply({});
  BOOST_TEST(client.read().status == 200);
  client.reset();
  fixture.server().stop();
  one->on_gone([&gone] { gone.add(); });
  BOOST_TEST(gone.count() == 0);
  BOOST_TEST(fixture.stats().vanished == 0U);
}

BOOST_AUTO_TEST_CASE(callbacks_are_released_with_the_answer) {
  http_fixture fixture;
  auto client = fixture.connect();
  for (const bool is_answered : {true, false}) {
    client.send(ask);
    auto one = fixture.next();
    const std::weak_ptr<http::exchange> watch = one;
    one->on_gone([one] {}); // keeps itself alive
    one->on_drained([one] {});
    if (is_answered) {
      one->reply({});
      client.read();
    } else {
      fixture.server().stop();
    }
    one.reset();
    BOOST_TEST(watch.expired());
  }
}

BOOST_AUTO_TEST_CASE(an_exchange_outlives_its_server) {
  exchange_ptr one;
  {
    http_fixture fixture;
    auto client = fixture.connect();
    client.send(ask);
    one = fixture.next();
    BOOST_TEST(one->start_stream(200, {}));
  }
  BOOST_TEST(one->is_gone());
  BOOST_TEST((one->write("a") == write_outcome::gone));
  bool is_called = false;
  one->on_gone([&is_called] { is_called = true; });
  BOOST_TEST(is_called);
  one->on_drained([] {});
  one->finish();
  BOOST_TEST(one->backlog_bytes() == 0U);
}

BOOST_AUTO_TEST_CASE(producers_of_one_stream_do_not_tear_their_writes) {
  http_fixture fixture(narrow());
  auto client = fixture.connect();
  client.send(ask);
  const auto one = fixture.next();
  BOOST_TEST(one->start_stream(200, {}));
  constexpr int writes = 500;
  std::vector<std::jthread> producers;
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    producers.emplace_back([one, letter] {
      for (int i = 0; i < writes; ++i) {
        const auto event = http::sse_event(static_cast<std::uint64_t>(i), std::string(50, letter));
        auto outcome = one->write(event);
        for (; outcome == write_outcome::full; outcome = one->write(event)) {
          std::this_thread::yield();
        }
        if (outcome != write_outcome::accepted) {
          return;
        }
      }
    });
  }
  std::jthread end([&producers, one] {
    for (auto& producer : producers) {
      producer.join();
    }
    one->finish();
  });
  std::array<int, 4> seen{};
  std::string chunk;
  client.take_until("\r\n\r\n");
  while (client.take_chunk(chunk)) {
    const auto letter = chunk[chunk.find("data: ") + 6];
    auto& count = seen.at(static_cast<std::size_t>(letter - 'a'));
    BOOST_TEST_REQUIRE(
        chunk == http::sse_event(static_cast<std::uint64_t>(count), std::string(50, letter)));
    ++count;
    chunk.clear();
  }
  for (const int count : seen) {
    BOOST_TEST(count == writes);
  }
}

BOOST_AUTO_TEST_CASE(a_thousand_streams_at_once) {
  http_fixture fixture;
  constexpr std::size_t streams = 1000;
  constexpr std::uint64_t events = 20;
  std::vector<http_client> clients;
  std::vector<exchange_ptr> exchanges;
  for (std::size_t i = 0; i < streams; ++i) {
    clients.push_back(fixture.connect());
    clients.back().send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n");
  }
  for (std::size_t i = 0; i < streams; ++i) {
    exchanges.push_back(fixture.next());
    BOOST_TEST_REQUIRE(exchanges.back()->start_stream(200, event_stream));
  }
  const auto write_all = [&exchanges](std::size_t first) {
    for (std::uint64_t event = 0; event < events; ++event) {
      for (auto i = first; i < streams; i += 4) {
        const auto text = http::sse_event(event, exchanges[i]->request().path);
        if (exchanges[i]->write(text) != write_outcome::accepted) {
          return;
        }
      }
    }
    for (auto i = first; i < streams; i += 4) {
      exchanges[i]->finish();
    }
  };
  {
    std::vector<std::jthread> producers;
    for (std::size_t first = 0; first < 4; ++first) {
      producers.emplace_back(write_all, first);
    }
  }
  for (std::size_t i = 0; i < streams; ++i) {
    std::string expected;
    for (std::uint64_t event = 0; event < events; ++event) {
      expected += http::sse_event(event, "/" + std::to_string(i));
    }
    BOOST_TEST_REQUIRE((clients[i].read().body == expected));
  }
  BOOST_TEST(fixture.stats().connections_open == streams);
}

BOOST_AUTO_TEST_SUITE_END()
