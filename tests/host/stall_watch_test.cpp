// When a silent process is suspected, and when it is given up: with a clock and a load that the test makes.
#include "host/stall_watch.hpp"

#include "runtime/base/step_pace.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
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
  bool stands_still = false;

  verdict look_after(duration time) {
    auto seen = verdict::fine;
    for (const auto end = now + time; now < end && seen != verdict::stuck;) {
      now += 10ms;
      seen = watch.look(cell, now, [this](duration elapsed) {
        return cpu_use{.waited = std::min(elapsed, part_waited), .is_standstill = stands_still};
      });
    }
    return seen;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(stall_watches, stall_fixture)

BOOST_AUTO_TEST_CASE(who_computes_and_gets_on_is_never_suspected) {
  for (int step = 0; step < 100; ++step) {
    word.enter(work_phase::computing, {.budget = 50ms});
    BOOST_TEST((look_after(40ms) == verdict::fine));
    word.bump();
    BOOST_TEST((look_after(40ms) == verdict::fine));
  }
}

BOOST_AUTO_TEST_CASE(who_computes_and_does_not_get_on_is_probed_then_given_up) {
  word.enter(work_phase::computing, {.budget = 200ms});
  BOOST_TEST((look_after(190ms) == verdict::fine));
  BOOST_TEST((look_after(30ms) == verdict::probing));
  BOOST_TEST((look_after(200ms) == verdict::stuck));
  BOOST_TEST(watch.silence(now).count() <= duration(330ms).count());
}

BOOST_AUTO_TEST_CASE(any_change_while_probing_clears_the_suspicion) {
  word.enter(work_phase::computing, {.budget = 50ms});
  BOOST_TEST((look_after(100ms) == verdict::probing));
  word.bump();
  BOOST_TEST((look_after(40ms) == verdict::fine));
}

BOOST_AUTO_TEST_CASE(idle_waiting_and_unlimited_work_are_never_suspected) { // V-1
  for (const auto phase : {work_phase::none, work_phase::idle, work_phase::waiting}) {
    word.enter(phase, {.budget = 10ms, .standstill = 10ms});
    BOOST_TEST((look_after(10s) == verdict::fine));
  }
  word.enter(work_phase::computing);
  BOOST_TEST((look_after(10s) == verdict::fine));
}

BOOST_AUTO_TEST_CASE(time_without_a_cpu_does_not_count) { // V-2
  word.enter(work_phase::computing, {.budget = 50ms});
  part_waited = 10ms; // all of it
  BOOST_TEST((look_after(60s) == verdict::probing));
  part_waited = 8ms; // a fifth of a core: five times as long
  BOOST_TEST((look_after(450ms) == verdict::probing));
  BOOST_TEST((look_after(100ms) == verdict::stuck));
}

BOOST_AUTO_TEST_CASE(who_stands_still_is_stuck_long_before_its_budget) { // V-3
  word.enter(work_phase::computing, {.budget = 30s, .standstill = 200ms});
  BOOST_TEST((look_after(5s) == verdict::probing), "it computes, for longer than it may stand");
  word.enter(work_phase::computing, {.budget = 30s, .standstill = 200ms});
  stands_still = true;
  BOOST_TEST((look_after(190ms) == verdict::fine));
  BOOST_TEST((look_after(30ms) == verdict::probing));
  BOOST_TEST((look_after(100ms) == verdict::stuck));
  BOOST_TEST(watch.silence(now).count() <= duration(330ms).count());
}

BOOST_AUTO_TEST_CASE(only_an_unbroken_standstill_counts) { // V-3
  word.enter(work_phase::computing, {.budget = 30s, .standstill = 50ms});
  for (int time = 0; time < 50; ++time) {
    stands_still = true;
    BOOST_TEST((look_after(90ms) != verdict::stuck));
    stands_still = false; // it runs
    BOOST_TEST((look_after(20ms) != verdict::stuck));
  }
}

BOOST_AUTO_TEST_CASE(a_look_that_comes_late_does_not_condemn) { // V-4
  word.enter(work_phase::computing, {.budget = 50ms, .standstill = 50ms});
  const auto look = [this](duration after) {
    now += after;
    return watch.look(cell, now, [](duration) { return cpu_use{.is_standstill = true}; });
  };
  BOOST_TEST((look(10ms) == verdict::fine));
  BOOST_TEST((look(60ms) == verdict::probing));
  BOOST_TEST((look(10s) == verdict::probing), "as after the suspension of the machine");
  word.bump();
  BOOST_TEST((look(10ms) == verdict::fine));
}

BOOST_AUTO_TEST_CASE(a_standstill_before_a_suspension_does_not_condemn_after_it) { // V-4
  word.enter(work_phase::computing, {.budget = 30s, .standstill = 200ms});
  stands_still = true;
  BOOST_TEST((look_after(290ms) == verdict::probing));
  now += 10s;
  BOOST_TEST((look_after(10ms) == verdict::probing));
  BOOST_TEST((look_after(40ms) == verdict::probing));
  BOOST_TEST((look_after(10ms) == verdict::stuck));
}

BOOST_AUTO_TEST_CASE(looks_that_are_late_by_half_cost_no_more_than_one_of_them) { // V-3
  word.enter(work_phase::computing, {.budget = 30s, .standstill = 200ms});
  const auto look = [this](duration after) {
    now += after;
    return watch.look(cell, now, [](duration) { return cpu_use{.is_standstill = true}; });
  };
  BOOST_TEST((look(0ms) == verdict::fine));
  const auto begun = now;
  for (int late = 0; late < 3; ++late) {
    BOOST_TEST((look(75ms) != verdict::stuck));
    BOOST_TEST((watch.due() == begun + 300ms));
  }
  BOOST_TEST((look(75ms) == verdict::stuck));
}

BOOST_AUTO_TEST_CASE(who_waits_or_has_no_standstill_bound_is_due_at_no_time) { // V-1
  word.enter(work_phase::computing, {.budget = 30s});
  BOOST_TEST((look_after(100ms) == verdict::fine));
  BOOST_TEST(!watch.due().has_value());
  word.enter(work_phase::computing, {.standstill = 200ms});
  BOOST_TEST((look_after(100ms) == verdict::fine));
  BOOST_TEST(watch.due().has_value());
  word.enter(work_phase::waiting, {.standstill = 200ms});
  BOOST_TEST((look_after(10ms) == verdict::fine));
  BOOST_TEST(!watch.due().has_value());
}

BOOST_AUTO_TEST_CASE(a_successor_of_one_that_was_stuck_has_a_longer_budget) { // V-5
  watch.set_patience(4);
  word.enter(work_phase::computing, {.budget = 200ms});
  BOOST_TEST((look_after(800ms) == verdict::fine));
  BOOST_TEST((look_after(120ms) == verdict::stuck));
  watch.set_patience(1);
  word.bump();
  BOOST_TEST((look_after(200ms) == verdict::fine));
  BOOST_TEST((look_after(120ms) == verdict::stuck));
}

BOOST_AUTO_TEST_CASE(a_successor_that_stands_still_is_found_as_soon_as_the_first) { // V-5, V-3
  for (const int patience : {1, 2, 64}) {
    watch.set_patience(patience);
    word.enter(work_phase::computing, {.budget = 30s, .standstill = 200ms});
    stands_still = true;
    BOOST_TEST((look_after(200ms) == verdict::fine));
    BOOST_TEST((look_after(120ms) == verdict::stuck));
  }
}

BOOST_AUTO_TEST_CASE(changes_are_counted_since_it_had_loaded_however_rarely_one_looks) { // G-4
  BOOST_TEST(changes_since_loaded(cell) == 0U);
  word.enter(work_phase::loading);
  word.bump();
  BOOST_TEST(changes_since_loaded(cell) == 0U, "of loading none counts");
  word.enter(work_phase::idle);
  BOOST_TEST(changes_since_loaded(cell) == 0U);
  for (int i = 0; i < 3; ++i) {
    word.enter(work_phase::computing);
    word.enter(work_phase::idle);
  }
  BOOST_TEST(changes_since_loaded(cell) == 6U);
  progress_word successor(cell); // of the thread
  successor.enter(work_phase::computing);
  BOOST_TEST(changes_since_loaded(cell) == 7U);
}

BOOST_AUTO_TEST_CASE(who_loads_nothing_counts_from_its_first_phase_on) { // G-4
  word.enter(work_phase::computing);
  word.bump();
  BOOST_TEST(changes_since_loaded(cell) == 1U);
}

BOOST_AUTO_TEST_CASE(a_meter_knows_a_sleeper_from_one_that_works) {
  cpu_meter meter;
  const auto use_of = [&meter](pid_t child) { // in 50 ms
    meter.forget();
    (void)meter.use(child, 0s);
    std::this_thread::sleep_for(50ms);
    const auto used = meter.use(child, 50ms);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return used;
  };
  const pid_t sleeper = ::fork();
  if (sleeper == 0) {
    while (true) {
      ::pause();
    }
  }
  const auto asleep = use_of(sleeper);
  BOOST_TEST(asleep.waited.count() < duration(40ms).count());
  BOOST_TEST(asleep.is_standstill);
  const pid_t worker = ::fork();
  if (worker == 0) {
    for (std::atomic<unsigned> spin{0};;) {
      spin.fetch_add(1, std::memory_order_relaxed);
    }
  }
  BOOST_TEST(!use_of(worker).is_standstill, "it runs, or waits for a CPU");
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
  pace.finished(1000, 10s);
  BOOST_TEST(pace.budget(1000).count() == 30'000, "never above the first one");
}

BOOST_AUTO_TEST_CASE(a_pace_may_forget_what_was_slower_long_ago) {
  step_pace pace(200ms, 30s, {.margin = 4, .remembered = 16});
  BOOST_TEST(!pace.knows(64));
  pace.finished(64, 700ms); // loads its kernels
  for (int step = 1; step < 31; ++step) {
    pace.finished(64, 60ms);
    BOOST_TEST(pace.budget(64).count() == (step < 7 ? 30'000 : 2'800));
  }
  BOOST_TEST(pace.knows(64));
  pace.finished(64, 60ms);
  BOOST_TEST(pace.budget(64).count() == 240, "after 32 steps at most");
  for (int step = 0; step < 100; ++step) {
    pace.finished(64, step % 8 == 0 ? 90ms : 10ms);
    BOOST_TEST(pace.budget(64).count() >= 240, "what comes again and again is never forgotten");
  }
  BOOST_TEST(pace.budget(64).count() == 360);
}

BOOST_AUTO_TEST_CASE(a_pace_may_ignore_the_first_steps_of_a_size) {
  step_pace pace(200ms, 30s, {.margin = 4, .remembered = 64, .ignored = 4});
  for (int step = 0; step < 8; ++step) {
    BOOST_TEST(!pace.knows(64));
    pace.finished(64, step < 4 ? 400ms : 60ms);
  }
  BOOST_TEST(pace.knows(64));
  BOOST_TEST(pace.budget(64).count() == 240);
}

BOOST_AUTO_TEST_CASE(a_pace_borrows_from_the_nearest_size_that_it_knows) {
  step_pace pace(200ms, 30s);
  const auto learn = [&pace](std::int64_t tokens, std::chrono::milliseconds elapsed) {
    for (std::uint32_t step = 0; step < step_pace::steps_to_learn; ++step) {
      pace.finished(tokens, elapsed);
    }
  };
  learn(1, 10ms);
  BOOST_TEST(pace.budget(2).count() == 8 * 10 * 4, "up to three times the tokens of one");
  BOOST_TEST(pace.budget(64).count() == 8 * 10 * 128);
  BOOST_TEST(pace.budget(4096).count() == 30'000, "never above the first one");
  BOOST_TEST(pace.budget(std::int64_t{1} << 60).count() == 30'000);
  learn(1000, 90ms);
  BOOST_TEST(pace.budget(64).count() == 720, "no longer than a larger one");
  BOOST_TEST(pace.budget(2000).count() == 8 * 90 * 4);
  BOOST_TEST(pace.budget(1).count() == 200, "its own is known");
  pace.finished(64, 1s); // one step does not make it known
  BOOST_TEST(pace.budget(64).count() == 720);
}

BOOST_AUTO_TEST_SUITE_END()
