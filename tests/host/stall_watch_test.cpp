// When a silent process is suspected, and when it is given up: with a clock and a load that the test makes.
#include "host/stall_watch.hpp"

#include "runtime/base/step_pace.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace vdist;
using namespace vdist::host;
using namespace std::chrono_literals;
using verdict = stall_watch::verdict;

namespace {

struct stall_fixture {
  progress_cell cell;
  progress_word word{cell};
  stall_watch watch{100ms};
  time_point now{1s};
  duration part_waited{0}; // per 10 ms

  verdict look_after(duration time) {
    auto seen = verdict::fine;
    for (const auto end = now + time; now < end && seen != verdict::stuck;) {
      now += 10ms;
      seen = watch.look(
          cell, now, [this](duration elapsed) { return std::min(elapsed, part_waited); });
    }
    return seen;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(stall_watches, stall_fixture)

BOOST_AUTO_TEST_CASE(who_computes_and_gets_on_is_never_suspected) {
  for (int step = 0; step < 100; ++step) {
    word.enter(work_phase::computing, 50ms);
    BOOST_TEST((look_after(40ms) == verdict::fine));
    word.bump();
    BOOST_TEST((look_after(40ms) == verdict::fine));
  }
}

BOOST_AUTO_TEST_CASE(who_computes_and_does_not_get_on_is_probed_then_given_up) {
  word.enter(work_phase::computing, 200ms);
  BOOST_TEST((look_after(190ms) == verdict::fine));
  BOOST_TEST((look_after(30ms) == verdict::probing));
  BOOST_TEST((look_after(200ms) == verdict::stuck));
  BOOST_TEST(watch.silence(now).count() <= duration(330ms).count());
}

BOOST_AUTO_TEST_CASE(any_change_while_probing_clears_the_suspicion) {
  word.enter(work_phase::computing, 50ms);
  BOOST_TEST((look_after(100ms) == verdict::probing));
  word.bump();
  BOOST_TEST((look_after(40ms) == verdict::fine));
}

BOOST_AUTO_TEST_CASE(idle_waiting_and_unlimited_work_are_never_suspected) { // V-1
  for (const auto phase : {work_phase::none, work_phase::idle, work_phase::waiting}) {
    word.enter(phase, 10ms);
    BOOST_TEST((look_after(10s) == verdict::fine));
  }
  word.enter(work_phase::computing);
  BOOST_TEST((look_after(10s) == verdict::fine));
}

BOOST_AUTO_TEST_CASE(time_without_a_cpu_does_not_count) { // V-2
  word.enter(work_phase::computing, 50ms);
  part_waited = 10ms; // all of it
  BOOST_TEST((look_after(60s) == verdict::probing));
  part_waited = 8ms; // a fifth of a core: five times as long
  BOOST_TEST((look_after(450ms) == verdict::probing));
  BOOST_TEST((look_after(100ms) == verdict::stuck));
}

BOOST_AUTO_TEST_CASE(a_meter_knows_a_sleeper_from_one_that_waits_for_a_cpu) {
  cpu_wait_meter meter;
  const pid_t sleeper = ::fork();
  if (sleeper == 0) {
    while (true) {
      ::pause();
    }
  }
  (void)meter.waited(sleeper, 0s);
  std::this_thread::sleep_for(50ms);
  BOOST_TEST(meter.waited(sleeper, 50ms).count() < duration(40ms).count());
  ::kill(sleeper, SIGKILL);
  ::waitpid(sleeper, nullptr, 0);
}

BOOST_AUTO_TEST_CASE(a_pace_learns_from_steps_of_the_same_size) {
  step_pace pace(200ms, 30s);
  BOOST_TEST(pace.budget(1).count() == 30'000);
  for (int step = 0; step < 8; ++step) {
    pace.finished(1, 3ms);
    pace.finished(1000, 90ms);
  }
  BOOST_TEST(pace.budget(1).count() == 200, "never below the floor");
  BOOST_TEST(pace.budget(1000).count() == 720);
  BOOST_TEST(pace.budget(64).count() == 30'000, "nothing is known about these");
  pace.finished(1000, 10s);
  BOOST_TEST(pace.budget(1000).count() == 30'000, "never above the first one");
}

BOOST_AUTO_TEST_SUITE_END()
