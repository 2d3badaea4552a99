// tests/transport/channel_conformance.hpp — what every channel must do, whatever carries it: the
// rules C-1 to C-5 of transport/frame/channel.hpp as tests. A channel's own test file describes how
// to build one (channel_factory) and says VDIST_CHANNEL_CONFORMANCE(suite name, factory).
#pragma once

#include "transport/frame/channel.hpp"
#include "transport/frame/wait_policy.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace vdist::testing {

using namespace std::chrono_literals;

inline const system_clock channel_clock;
/// Deadline of operations that are expected to succeed: only a defect ever waits that long.
inline constexpr auto patience = 20s;
/// Deadline of operations that are expected to run into it.
inline constexpr auto impatience = 3ms;

struct channel_options {
  std::uint32_t readers = 1;
  const frame::fence* stop = nullptr;
};

/// One channel as the conformance tests see it. Its capacity is at most `bytes_bound` bytes of
/// bodies, and at least two frames of 100 bytes. It accepts bodies of `body_bytes_max` or less,
/// which is at least twice the capacity.
class channel_under_test {
public:
  virtual ~channel_under_test() = default;
  virtual frame::frame_writer& writer() = 0;
  virtual std::unique_ptr<frame::frame_reader> attach(std::uint32_t index,
                                                      const frame::expectation& expected) = 0;
  virtual void detach(std::uint32_t index) = 0;
  virtual void close() = 0;
  [[nodiscard]] virtual std::size_t bytes_bound() const = 0;
  [[nodiscard]] virtual std::size_t body_bytes_max() const = 0;
  /// Damages a frame that reader 0 is looking at, so that reader 1 gets it damaged.
  virtual void damage(const frame::frame_view& view) = 0;
};

using channel_factory = std::function<std::unique_ptr<channel_under_test>(const channel_options&)>;

inline time_point after(duration d) {
  return channel_clock.now() + d;
}

inline frame::envelope test_header(std::uint32_t of_epoch = 1) {
  return frame::envelope{.protocol = 1,
                         .version = 1,
                         .kind = 1,
                         .sender = 2,
                         .cluster = 42,
                         .incarnation = 3,
                         .group = 0,
                         .epoch = of_epoch};
}

inline frame::expectation test_peer(std::uint32_t of_epoch = 1) {
  return frame::expectation{
      .cluster = 42, .protocol = 1, .group = 0, .epoch = of_epoch, .sender = 2, .incarnation = 3};
}

/// The body of the n-th frame: size and bytes follow from n.
inline std::vector<std::byte> test_body(std::uint64_t n, std::size_t bytes) {
  std::vector<std::byte> body(bytes);
  std::uint64_t state = n * 0x9e3779b97f4a7c15 + bytes;
  for (auto& b : body) {
    state = state * 6364136223846793005 + 1442695040888963407;
    b = static_cast<std::byte>(state >> 56U);
  }
  return body;
}

inline result<void>
write_body(channel_under_test& channel, std::uint64_t n, std::size_t bytes, duration d = patience) {
  return channel.writer().write(test_header(), test_body(n, bytes), after(d));
}

inline bool reads_body(frame::frame_reader& reader, std::uint64_t n, std::size_t bytes) {
  const auto view = reader.read(after(patience));
  const auto expected = test_body(n, bytes);
  return view && view->body.size() == bytes
         && std::equal(expected.begin(), expected.end(), view->body.begin());
}

inline errc read_error(frame::frame_reader& reader, duration d = patience) {
  const auto view = reader.read(after(d));
  return view ? errc::ok : view.error().code;
}

inline errc error_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

// ---- The rules
// ------------------------------------------------------------------------------------

/// C-1, C-2: several threads, sizes from nothing to more than the channel holds at once.
inline void check_order_and_completeness(const channel_factory& make) {
  constexpr std::uint32_t readers = 3;
  constexpr std::uint64_t frames = 1500;
  const auto channel = make({.readers = readers});
  std::mt19937 random(7);
  std::vector<std::size_t> sizes(frames);
  for (auto& size : sizes) {
    const bool is_large = random() % 50 == 0;
    size = random() % (is_large ? channel->bytes_bound() * 2 : 700);
  }
  std::vector<std::unique_ptr<frame::frame_reader>> ends;
  for (std::uint32_t r = 0; r < readers; ++r) {
    ends.push_back(channel->attach(r, test_peer()));
  }
  std::atomic<std::uint64_t> matches{0};
  std::vector<std::thread> threads;
  for (auto& end : ends) {
    threads.emplace_back([&matches, &sizes, reader = end.get()] {
      for (std::uint64_t n = 0; n < frames && reads_body(*reader, n, sizes[n]); ++n) {
        ++matches;
      }
    });
  }
  for (std::uint64_t n = 0; n < frames; ++n) {
    BOOST_REQUIRE(write_body(*channel, n, sizes[n]));
  }
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(matches == frames * readers);
  BOOST_TEST(ends[0]->drops().total() == 0U);
}

/// C-2, C-3: bounded; the writer gets its deadline, and afterwards nothing is lost or doubled.
inline void check_back_pressure(const channel_factory& make) {
  const auto channel = make({});
  const auto reader = channel->attach(0, test_peer());
  constexpr std::size_t bytes = 100;
  std::uint64_t written = 0;
  auto outcome = write_body(*channel, written, bytes, impatience);
  while (outcome) {
    ++written;
    BOOST_REQUIRE(written * bytes <= channel->bytes_bound());
    outcome = write_body(*channel, written, bytes, impatience);
  }
  BOOST_CHECK(outcome.error().code == errc::timed_out);
  BOOST_TEST(written >= 2U);
  for (std::uint64_t n = 0; n < written; ++n) {
    BOOST_REQUIRE(reads_body(*reader, n, bytes));
  }
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_CHECK(error_of(write_body(*channel, 99, bytes)) == errc::ok);
  BOOST_TEST(reads_body(*reader, 99, bytes));
}

/// C-3: a frame larger than the channel whose write ran into the deadline was never sent.
inline void check_interrupted_write(const channel_factory& make) {
  const auto channel = make({});
  const auto reader = channel->attach(0, test_peer());
  BOOST_REQUIRE(write_body(*channel, 1, 10));
  const auto large = channel->bytes_bound() * 2;
  BOOST_CHECK(error_of(write_body(*channel, 2, large, impatience)) == errc::timed_out);
  BOOST_TEST(reads_body(*reader, 1, 10));
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_REQUIRE(write_body(*channel, 3, 20));
  BOOST_TEST(reads_body(*reader, 3, 20)); // no gap is reported either
  BOOST_CHECK(error_of(write_body(*channel, 4, channel->body_bytes_max() + 1))
              == errc::invalid_argument);
}

/// C-3: every wait ends at its deadline, not before; a past deadline polls.
inline void check_deadlines(const channel_factory& make) {
  const auto channel = make({});
  const auto reader = channel->attach(0, test_peer());
  const auto start = channel_clock.now();
  BOOST_CHECK(read_error(*reader, 10ms) == errc::timed_out);
  BOOST_CHECK(channel_clock.now() - start >= 10ms);
  BOOST_CHECK(channel_clock.now() - start < 5s);
  BOOST_CHECK(read_error(*reader, -1s) == errc::timed_out);
  BOOST_TEST(!reader->has_frame());
  BOOST_REQUIRE(write_body(*channel, 1, 10, -1s)); // there is room: no wait
  BOOST_TEST(reader->has_frame());
  BOOST_CHECK(read_error(*reader, -1s) == errc::ok);
}

/// C-3: a raised fence ends a read and a blocked write, also while they sleep.
inline void check_fence(const channel_factory& make) {
  frame::fence stop;
  const auto channel = make({.readers = 1, .stop = &stop});
  const auto reader = channel->attach(0, test_peer());
  errc of_read{};
  errc of_write{};
  const auto start = channel_clock.now();
  std::atomic<int> started{0};
  std::thread reading([&] {
    ++started;
    of_read = read_error(*reader);
  });
  while (started == 0) {
    std::this_thread::yield();
  }
  stop.raise(epoch(2));
  reading.join();
  BOOST_CHECK(of_read == errc::aborted);
  // The next epoch goes on over the same channel.
  reader->expect(test_peer(2));
  std::thread writing([&] {
    while (of_write == errc::ok) {
      ++started;
      of_write =
          error_of(channel->writer().write(test_header(2), test_body(0, 100), after(patience)));
    }
  });
  while (started < 3) {
    std::this_thread::yield();
  }
  stop.raise(epoch(3));
  writing.join();
  BOOST_CHECK(of_write == errc::aborted);
  BOOST_CHECK(channel_clock.now() - start < 5s);
}

/// C-5: the past is skipped and counted, the future is kept until it is expected.
inline void check_epochs(const channel_factory& make) {
  const auto channel = make({});
  const auto reader = channel->attach(0, test_peer(2));
  const auto write = [&channel](const frame::envelope& header, std::uint64_t n) {
    BOOST_REQUIRE(channel->writer().write(header, test_body(n, 10), after(patience)));
  };
  write(test_header(1), 1);
  write(test_header(2), 2);
  BOOST_TEST(reads_body(*reader, 2, 10));
  BOOST_TEST(reader->drops().of(frame::drop_reason::stale_epoch) == 1U);
  write(test_header(3), 3);
  BOOST_CHECK(read_error(*reader) == errc::aborted);
  BOOST_CHECK(read_error(*reader) == errc::aborted);
  BOOST_TEST(reader->has_frame());
  reader->expect(test_peer(3));
  BOOST_TEST(reads_body(*reader, 3, 10));
  auto of_the_dead = test_header(3);
  of_the_dead.incarnation = 2;
  write(of_the_dead, 4);
  auto of_another_cluster = test_header(3);
  of_another_cluster.cluster = 43;
  write(of_another_cluster, 5);
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_TEST(reader->drops().of(frame::drop_reason::stale_incarnation) == 1U);
  BOOST_TEST(reader->drops().of(frame::drop_reason::foreign) == 1U);
  BOOST_TEST(reader->drops().total() == 3U);
}

/// C-1: a damaged frame is reported once; reading goes on behind it.
inline void check_damage(const channel_factory& make) {
  const auto channel = make({.readers = 2});
  const auto first = channel->attach(0, test_peer());
  const auto second = channel->attach(1, test_peer());
  const auto write_and_read = [&](std::uint64_t n) {
    BOOST_REQUIRE(write_body(*channel, n, 100));
    BOOST_TEST(reads_body(*first, n, 100));
    BOOST_TEST(reads_body(*second, n, 100));
  };
  write_and_read(0);
  BOOST_REQUIRE(write_body(*channel, 1, 100));
  const auto view = first->read(after(patience));
  BOOST_REQUIRE(view);
  channel->damage(*view);
  BOOST_CHECK(read_error(*second) == errc::corrupt);
  BOOST_TEST(second->drops().of(frame::drop_reason::bad_checksum) == 1U);
  write_and_read(2);
  write_and_read(3);
  BOOST_TEST(second->drops().total() == 1U);
}

/// C-4: a close wakes the reader; what was written before arrives first; writers stop at once.
inline void check_close(const channel_factory& make) {
  {
    const auto channel = make({});
    const auto reader = channel->attach(0, test_peer());
    errc of_read{};
    std::thread reading([&] { of_read = read_error(*reader); });
    channel->writer().close();
    reading.join();
    BOOST_CHECK(of_read == errc::closed);
  }
  {
    const auto channel = make({});
    const auto reader = channel->attach(0, test_peer());
    BOOST_REQUIRE(write_body(*channel, 1, 10));
    BOOST_REQUIRE(write_body(*channel, 2, 10));
    channel->close();
    channel->close();
    BOOST_CHECK(error_of(write_body(*channel, 3, 10)) == errc::closed);
    BOOST_TEST(reads_body(*reader, 1, 10));
    BOOST_TEST(reads_body(*reader, 2, 10));
    BOOST_CHECK(read_error(*reader) == errc::closed);
    BOOST_TEST(reader->has_frame()); // a poller must notice the end
  }
  {
    const auto channel = make({});
    const auto reader = channel->attach(0, test_peer());
    errc of_write{};
    std::thread writing([&] {
      while (of_write == errc::ok) {
        of_write = error_of(write_body(*channel, 1, 100));
      }
    });
    channel->close();
    writing.join();
    BOOST_CHECK(of_write == errc::closed);
  }
}

/// A reader that goes does not hold the writer up; its successor starts at the present.
inline void check_detach_and_attach(const channel_factory& make) {
  const auto channel = make({.readers = 2});
  const auto survivor = channel->attach(0, test_peer());
  auto dead = channel->attach(1, test_peer());
  constexpr std::size_t bytes = 100;
  std::uint64_t written = 0;
  while (write_body(*channel, written, bytes, impatience)) {
    BOOST_REQUIRE(reads_body(*survivor, written, bytes)); // only the dead one holds the writer up
    ++written;
  }
  std::thread writing([&] {
    for (std::uint64_t n = 0; n < 50; ++n) {
      if (!write_body(*channel, written + n, bytes)) {
        return;
      }
    }
  });
  channel->detach(1);
  for (std::uint64_t n = 0; n < 50; ++n) {
    BOOST_REQUIRE(reads_body(*survivor, written + n, bytes));
  }
  writing.join();
  BOOST_CHECK(read_error(*dead) == errc::closed);
  const auto successor = channel->attach(1, test_peer());
  dead.reset(); // the late end of the dead one disturbs nobody
  for (std::uint64_t n = 100; n < 103; ++n) {
    BOOST_REQUIRE(write_body(*channel, n, bytes));
    BOOST_TEST(reads_body(*successor, n, bytes));
    BOOST_TEST(reads_body(*survivor, n, bytes));
  }
  survivor->close();
  successor->close();
  BOOST_CHECK(error_of(write_body(*channel, 1, bytes)) == errc::closed); // nobody listens
}

} // namespace vdist::testing

#define VDIST_CHANNEL_CONFORMANCE(suite, make)                                                     \
  BOOST_AUTO_TEST_SUITE(suite)                                                                     \
  BOOST_AUTO_TEST_CASE(delivers_everything_once_in_order) {                                        \
    ::vdist::testing::check_order_and_completeness(make);                                          \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(makes_the_writer_wait_and_drops_nothing) {                                  \
    ::vdist::testing::check_back_pressure(make);                                                   \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(an_interrupted_write_leaves_nothing_behind) {                               \
    ::vdist::testing::check_interrupted_write(make);                                               \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(every_wait_ends_at_its_deadline) {                                          \
    ::vdist::testing::check_deadlines(make);                                                       \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(a_raised_fence_ends_reads_and_writes) {                                     \
    ::vdist::testing::check_fence(make);                                                           \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(skips_the_past_and_keeps_the_future) {                                      \
    ::vdist::testing::check_epochs(make);                                                          \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(reports_a_damaged_frame_and_goes_on) {                                      \
    ::vdist::testing::check_damage(make);                                                          \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(a_close_wakes_everybody_after_the_last_frame) {                             \
    ::vdist::testing::check_close(make);                                                           \
  }                                                                                                \
  BOOST_AUTO_TEST_CASE(a_dead_reader_is_detached_and_replaced) {                                   \
    ::vdist::testing::check_detach_and_attach(make);                                               \
  }                                                                                                \
  BOOST_AUTO_TEST_SUITE_END()
