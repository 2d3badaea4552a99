// L-17: what is said again to a worker that does not answer.
#include "actors/worker/command_reminder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

using command = protocol::worker_command::kind;
using event = protocol::worker_event::kind;

struct fixture {
  /// What is said within so long, looked at every millisecond, as the milliseconds at which it is.
  std::vector<int> said_within(int ms, const protocol::worker_command& expected) {
    std::vector<int> at;
    for (int i = 0; i < ms; ++i, now += 1ms) {
      if (const auto again = reminder.take(now)) {
        BOOST_TEST((*again == expected));
        at.push_back(static_cast<int>((now - begun) / 1ms));
      }
    }
    return at;
  }

  void say(command what, std::uint32_t epoch = 0) {
    begun = now;
    reminder.said({what, epoch}, now);
  }

  time_point now{1h};
  time_point begun = now;
  command_reminder reminder{300ms};
};

} // namespace

BOOST_AUTO_TEST_SUITE(command_reminders)

BOOST_FIXTURE_TEST_CASE(what_is_not_answered_is_said_again_and_more_and_more_rarely, fixture) {
  BOOST_TEST(said_within(1000, {}).empty(), "nothing was said");
  for (const auto what : {command::load, command::prepare}) {
    say(what, 7);
    BOOST_TEST((said_within(10'000, {what, 7}) == std::vector<int>{300, 900, 2100, 4500, 9300}));
  }
}

BOOST_FIXTURE_TEST_CASE(what_has_no_answer_is_followed_by_nothing_once, fixture) {
  for (const auto what : {command::begin, command::end}) {
    say(what, 7);
    BOOST_TEST((said_within(10'000, {command::nothing, 0}) == std::vector<int>{300}));
  }
}

BOOST_FIXTURE_TEST_CASE(its_own_answer_ends_it_and_no_other, fixture) {
  say(command::load);
  reminder.heard({.what = event::quiesced});
  reminder.heard({.what = event::peer_late});
  BOOST_TEST(said_within(400, {command::load, 0}).size() == 1U);
  reminder.heard({.what = event::loaded});
  BOOST_TEST(said_within(10'000, {}).empty());
  say(command::prepare, 7);
  reminder.heard({.what = event::loaded});
  reminder.heard({.what = event::quiesced, .now = epoch(6)});
  BOOST_TEST(said_within(400, {command::prepare, 7}).size() == 1U);
  reminder.heard({.what = event::quiesced, .now = epoch(7)});
  BOOST_TEST(said_within(10'000, {}).empty());
}

BOOST_FIXTURE_TEST_CASE(who_has_failed_is_asked_no_more, fixture) {
  for (const auto what : {command::load, command::prepare, command::begin}) {
    say(what, 7);
    reminder.heard({.what = event::failed});
    BOOST_TEST(said_within(10'000, {}).empty());
  }
}

BOOST_FIXTURE_TEST_CASE(the_newest_command_takes_the_place_of_all_before, fixture) {
  say(command::load);
  BOOST_TEST(said_within(1000, {command::load, 0}).size() == 2U);
  say(command::prepare, 3);
  BOOST_TEST((said_within(400, {command::prepare, 3}) == std::vector<int>{300}), "at its own pace");
  say(command::begin, 3);
  BOOST_TEST((said_within(1000, {command::nothing, 0}) == std::vector<int>{300}));
}

BOOST_AUTO_TEST_SUITE_END()
