// Life words: marked by the kernel when their holder ends, however it ends, and seen by who sleeps on them.
#include "host/life_watch.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <poll.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "host/restart_history.hpp"

using namespace vdist;
using namespace vdist::host;
using namespace std::chrono_literals;

namespace {

bool can_watch(boost::unit_test::test_unit_id) {
  return life_watch::is_possible();
}

struct life_fixture {
  board on = std::move(board::make()).value();

  /// A process that holds an entry and does then what `then` says.
  template <class F>
  pid_t start_holder(std::uint32_t index, const F& then) {
    write_identity(on.life(index), {.rank = static_cast<std::int32_t>(index)});
    const pid_t pid = ::fork();
    if (pid == 0) {
      hold_life(on.life(index));
      then();
      while (true) {
        ::pause();
      }
    }
    return pid;
  }

  void wait_until_held(std::uint32_t index) {
    while (on.life(index).owner.load() == 0) {
      std::this_thread::yield();
    }
  }

  static std::vector<std::uint32_t> next_dead(life_watch& watch) {
    pollfd one{.fd = watch.descriptor(), .events = POLLIN, .revents = 0};
    BOOST_REQUIRE(::poll(&one, 1, 10'000) == 1);
    return watch.take_dead();
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(life_words, life_fixture)

BOOST_AUTO_TEST_CASE(a_board_is_opened_by_its_own_layout_only) {
  BOOST_TEST(on->cluster != 0U);
  auto again = board::open(socket::unique_fd(::dup(on.file().get())));
  BOOST_REQUIRE(again.has_value());
  BOOST_TEST((*again)->cluster == on->cluster);
  on->layout = 99;
  BOOST_TEST(!board::open(socket::unique_fd(::dup(on.file().get()))).has_value());
}

BOOST_AUTO_TEST_CASE(the_kernel_marks_the_word_whatever_ends_the_holder) { // B-2
  const auto is_marked_after = [this](const auto& end) {
    const pid_t pid = start_holder(3, end);
    ::waitpid(pid, nullptr, 0);
    return is_marked_dead(on.life(3));
  };
  BOOST_TEST(is_marked_after([] { ::_exit(0); }));
  BOOST_TEST(is_marked_after([] { ::raise(SIGKILL); }));
  BOOST_TEST(is_marked_after([] {
    ::signal(SIGSEGV, SIG_DFL);
    ::raise(SIGSEGV);
  }));
  BOOST_TEST(is_marked_after([] {
    ::signal(SIGABRT, SIG_DFL);
    ::abort();
  }));
}

BOOST_AUTO_TEST_CASE(deaths_are_told_once_and_only_of_what_is_watched,
                     *boost::unit_test::precondition(can_watch)) {
  auto watch = std::move(life_watch::start(*on)).value();
  // Both threads, and entries that are watched before their holders exist.
  const std::vector<std::uint32_t> watched{0, 5, 126, 127, 200, 253};
  std::vector<pid_t> holders;
  for (const auto index : watched) {
    watch->watch(index);
    holders.push_back(start_holder(index, [] {}));
  }
  const pid_t unwatched = start_holder(7, [] {});
  for (std::size_t i = 0; i < watched.size(); ++i) {
    wait_until_held(watched[i]);
    ::kill(holders[i], SIGKILL);
    BOOST_TEST(next_dead(*watch) == std::vector{watched[i]}, boost::test_tools::per_element());
    ::waitpid(holders[i], nullptr, 0);
  }
  ::kill(unwatched, SIGKILL);
  ::waitpid(unwatched, nullptr, 0);
  BOOST_TEST(watch->take_dead().empty());
}

BOOST_AUTO_TEST_CASE(a_forgotten_word_is_free_for_the_next_holder,
                     *boost::unit_test::precondition(can_watch)) {
  auto watch = std::move(life_watch::start(*on)).value();
  for (int round = 0; round < 50; ++round) {
    watch->watch(9);
    const pid_t pid = start_holder(9, [] {});
    if (round % 2 == 0) {
      wait_until_held(9);
    }
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    watch->forget(9);
    BOOST_TEST(watch->take_dead().empty());
  }
}

BOOST_AUTO_TEST_CASE(restarts_rest_longer_each_time_and_are_bounded) {
  restart_history history({.restarts_max = 4, .window = 60s, .backoff = 50ms});
  time_point now{100s};
  BOOST_TEST((history.next(now) == duration(0ms)));
  BOOST_TEST((history.next(now) == duration(50ms)));
  BOOST_TEST((history.next(now) == duration(100ms)));
  BOOST_TEST((history.next(now) == duration(200ms)));
  BOOST_TEST(!history.next(now).has_value());
  now += 61s;
  BOOST_TEST((history.next(now) == duration(0ms)), "the window is over");
}

BOOST_AUTO_TEST_CASE(restarts_that_are_taken_back_do_not_count) { // H-14
  restart_history history({.restarts_max = 3, .window = 60s, .backoff = 50ms});
  const time_point now{100s};
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(history.next(now).has_value());
  }
  history.take_back(2);
  BOOST_TEST(history.recent() == 1U);
  BOOST_TEST((history.next(now) == duration(50ms)));
  history.take_back(9);
  BOOST_TEST((history.next(now) == duration(0ms)), "more than there were");
}

BOOST_AUTO_TEST_SUITE_END()
