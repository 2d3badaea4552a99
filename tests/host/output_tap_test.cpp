// Output that is said again by a successor comes out once, in order, whatever the reader does.
#include "host/output_tap.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>

using namespace vdist;
using namespace vdist::host;

namespace {

struct pipe_ends {
  pipe_ends() {
    BOOST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }

  ~pipe_ends() {
    ::close(ends[0]);
    ::close(ends[1]);
  }

  int ends[2] = {-1, -1};
};

struct tap_fixture : pipe_ends {
  void say(std::uint64_t record,
           std::uint64_t offset,
           const std::string& text,
           bool is_stream,
           bool is_end = false) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    BOOST_REQUIRE(tap.take({.record = record,
                            .offset = offset,
                            .bytes = {bytes, bytes + text.size()},
                            .is_stream = is_stream,
                            .is_end = is_end})
                      .has_value());
    BOOST_REQUIRE(tap.flush().has_value());
  }

  std::string read_all() {
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }

  output_tap tap{ends[1]};
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(output_taps, tap_fixture)

BOOST_AUTO_TEST_CASE(a_stream_that_is_cut_anywhere_comes_out_once) { // O-1, O-2
  const std::string text = "Once upon a time there was a little process.";
  std::mt19937 random(5);
  for (std::uint64_t record = 0; record < 100; ++record) {
    for (bool is_over = false; !is_over;) {
      tap.restart();
      for (std::size_t earlier = 0; earlier < record; ++earlier) {
        say(earlier, 0, text, true, true); // the successor says everything again
      }
      for (std::size_t at = 0; at < text.size() && !is_over;) {
        const auto length = std::min<std::size_t>(1 + random() % 9, text.size() - at);
        say(record, at, text.substr(at, length), true);
        at += length;
        if (random() % 8 == 0) {
          break; // it dies
        }
        is_over = at == text.size();
      }
    }
    say(record, text.size(), "\n", true, true);
    BOOST_REQUIRE(read_all() == text + "\n");
  }
}

BOOST_AUTO_TEST_CASE(a_line_comes_out_whole_as_the_last_one_said_it) { // O-2
  say(0, 0, "{\"ms\":12", false);
  BOOST_TEST(read_all().empty());
  tap.restart();
  say(0, 0, "{\"ms\":7}\n", false, true);
  say(0, 0, "{\"ms\":9}\n", false, true);
  say(1, 0, "{}\n", false, true);
  BOOST_TEST(read_all() == "{\"ms\":7}\n{}\n");
}

BOOST_AUTO_TEST_CASE(a_reader_that_dozes_delays_nobody) {
  const std::string much(300'000, 'x'); // more than a pipe holds
  say(0, 0, much, true, true);
  BOOST_TEST(tap.has_waiting());
  std::string all;
  while (tap.has_waiting()) {
    all += read_all();
    BOOST_REQUIRE(tap.flush().has_value());
  }
  BOOST_TEST(all.size() + read_all().size() == much.size());
}

BOOST_AUTO_TEST_CASE(a_reader_that_has_gone_is_an_error) {
  std::signal(SIGPIPE, SIG_IGN);
  ::close(std::exchange(ends[0], ::dup(ends[1])));
  BOOST_REQUIRE(tap.take({.bytes = {std::byte{1}}, .is_stream = true}).has_value());
  BOOST_TEST(!tap.flush().has_value());
}

BOOST_AUTO_TEST_SUITE_END()
