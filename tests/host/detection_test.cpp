// The host supervisor, real, with stand-ins for workers: how soon it sees that one has died, stopped or come to a
// standstill, and that it suspects nobody else. This test is the control process.
#include "tests/host/probe_folder.hpp"

#include "transport/socket/shared_file.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <unistd.h>
#include <vector>

#include "host/child_table.hpp"
#include "host/host_link.hpp"

using namespace vdist;
using namespace vdist::host;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

#ifdef __SANITIZE_THREAD__
constexpr int slowness = 20;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int slowness = 4;
#else
constexpr int slowness = 1;
#endif

/// What is told about one worker.
struct witness {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::chrono::steady_clock::time_point> dying;
  std::optional<std::chrono::steady_clock::time_point> ended;
  std::string text;

  template <class Is>
  bool wait(const Is& is_so, std::chrono::milliseconds patience = 30s) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, patience, is_so);
  }

  bool wait_for_death(std::chrono::milliseconds patience = 30s) {
    return wait([this] { return dying || ended; }, patience);
  }

  bool wait_for_end(std::chrono::milliseconds patience = 30s) {
    return wait([this] { return ended.has_value(); }, patience);
  }
};

struct detection_fixture : probe_folder {
  detection_fixture() : probe_folder(true) {
    auto made = host_link::launch(programs());
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
    link = std::move(*made);
  }

  struct worker {
    protocol::process_key key;
    pid_t pid = 0;
    std::shared_ptr<witness> seen = std::make_shared<witness>();
  };

  worker start(const std::string& what) {
    worker made{.key = {.rank = 3, .incarnation = ++incarnation}};
    const auto* bytes = reinterpret_cast<const std::byte*>(what.data());
    const auto asked = link->spawn({.key = made.key, .order = {bytes, bytes + what.size()}},
                                   {.on_ended =
                                        [seen = made.seen](const auto& how) {
                                          const std::lock_guard lock(seen->mutex);
                                          seen->ended = std::chrono::steady_clock::now();
                                          seen->text = how.text;
                                          seen->changed.notify_all();
                                        },
                                    .on_dying =
                                        [seen = made.seen] {
                                          const std::lock_guard lock(seen->mutex);
                                          seen->dying = std::chrono::steady_clock::now();
                                          seen->changed.notify_all();
                                        }});
    BOOST_REQUIRE(asked.has_value());
    wait_until("a worker has started", [this, &made] {
      for (const auto& one : link->processes()) {
        if (one.key == made.key && one.pid != 0) {
          made.pid = one.pid;
        }
      }
      return made.pid != 0;
    });
    wait_until("it holds its life", [this, &made] { return life_of(made.key) != nullptr; });
    return made;
  }

  /// Its entry, once it is held.
  life_entry* life_of(const protocol::process_key& key) {
    for (auto& entry : (*link->board()).lives) {
      if (identity_of(entry) == key && entry.owner.load() != 0 && !is_marked_dead(entry)) {
        return &entry;
      }
    }
    return nullptr;
  }

  std::unique_ptr<host_link> link;
  std::uint32_t incarnation = 0;
};

/// Children that are looked at on a clock of the test's own: only what they are is real.
struct table_fixture : probe_folder {
  table_fixture() : probe_folder(true), words(make_board()), children(words, 300ms) {}

  static board make_board() {
    auto made = board::make();
    BOOST_REQUIRE(made.has_value());
    return std::move(*made);
  }

  /// The next worker of rank 0, which hangs: how long it is looked at until it is killed.
  std::chrono::milliseconds detection_of(std::string_view what) {
    const auto order = socket::make_shared_file("order", what.size());
    BOOST_REQUIRE(order.has_value());
    BOOST_REQUIRE(::pwrite(order->get(), what.data(), what.size(), 0) == std::ssize(what));
    const protocol::process_key key{.rank = 0, .incarnation = ++incarnation};
    const auto started = children.start(key,
                                        {.program = programs() / "vdist-worker",
                                         .arguments = {"--order-fd", "3"},
                                         .descriptors = {order->get()}});
    BOOST_REQUIRE(started.has_value());
    const auto& entry = words.life((*started)->life);
    const auto pid = (*started)->pid();
    wait_until("it hangs", [&] {
      return phase_of(entry.progress.word.load()) == work_phase::computing
             && entry.progress.budget_ms.load() != 0 && state_of(pid) == 'S';
    });
    const auto first = now;
    bool is_dying = false;
    bool has_ended = false; // one look may see both
    const auto look = [&] {
      for (const auto& event : children.look(now += look_interval)) {
        is_dying = is_dying || (event.key == key && event.what == child_event::kind::dying);
        has_ended = has_ended || (event.key == key && event.what == child_event::kind::ended);
      }
    };
    for (look(); !is_dying; look()) {
      BOOST_REQUIRE(now < first + 60s);
    }
    const auto found = now;
    wait_until("it ends", [&] {
      if (!has_ended) {
        look();
      }
      return has_ended;
    });
    return std::chrono::duration_cast<std::chrono::milliseconds>(found - first);
  }

  static constexpr auto look_interval = 50ms; // as next_look() says
  board words;
  child_table children;
  std::uint32_t incarnation = 0;
  time_point now{1s};
};

double ms(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(detection, detection_fixture)

BOOST_AUTO_TEST_CASE(a_killed_worker_is_seen_at_once) {
  std::vector<double> seen_after;
  std::vector<double> ended_after;
  for (int round = 0; round < 100; ++round) {
    const auto victim = start("idle");
    const auto killed = std::chrono::steady_clock::now();
    ::kill(victim.pid, SIGKILL);
    BOOST_REQUIRE(victim.seen->wait_for_end());
    const auto& seen = *victim.seen;
    seen_after.push_back(ms(std::min(seen.dying.value_or(*seen.ended), *seen.ended) - killed));
    ended_after.push_back(ms(*seen.ended - killed));
    BOOST_TEST(seen.text == "killed by signal 9 (Killed)");
  }
  std::sort(seen_after.begin(), seen_after.end());
  std::sort(ended_after.begin(), ended_after.end());
  BOOST_TEST_MESSAGE("kill seen after ms: n=100 p50="
                     << seen_after[49] << " p99=" << seen_after[98] << " max=" << seen_after[99]
                     << "; ended p50=" << ended_after[49] << " p99=" << ended_after[98]);
  BOOST_TEST(seen_after[49] < 10.0 * slowness);
  BOOST_TEST(seen_after[98] < 100.0 * slowness, "the machine of a test may be busy");
}

BOOST_AUTO_TEST_CASE(a_short_stop_is_no_death_and_a_long_one_is) {
  const auto brief = start("idle");
  ::kill(brief.pid, SIGSTOP);
  wait_until("it is stopped", [&brief] { return state_of(brief.pid) == 'T'; });
  std::this_thread::sleep_for(100ms);
  ::kill(brief.pid, SIGCONT);
  BOOST_TEST(!brief.seen->wait_for_death(500ms));
  BOOST_TEST(is_running(brief.pid));

  std::vector<double> seen_after;
  for (int round = 0; round < 10; ++round) {
    const auto victim = start("idle"); // nobody waits for it
    const auto stopped = std::chrono::steady_clock::now();
    ::kill(victim.pid, SIGSTOP);
    BOOST_REQUIRE(victim.seen->wait_for_end());
    BOOST_TEST(victim.seen->text.find("it was stopped for 3") != std::string::npos,
               victim.seen->text);
    seen_after.push_back(ms(*victim.seen->dying - stopped));
    BOOST_TEST(seen_after.back() >= 299);
    BOOST_TEST(seen_after.back() < 500.0 * slowness);
  }
  std::sort(seen_after.begin(), seen_after.end());
  BOOST_TEST_MESSAGE("stop seen after ms: n=10 p50=" << seen_after[4] << " max=" << seen_after[9]);
}

BOOST_AUTO_TEST_CASE(a_stop_that_asks_to_be_ended_is_ended) {
  const auto sleeper = start("idle");
  auto* const entry = life_of(sleeper.key);
  entry->resume_ms.store(50);
  ::kill(sleeper.pid, SIGSTOP);
  wait_until("it goes on", [entry] { return entry->resume_ms.load() == 0; });
  BOOST_TEST(!sleeper.seen->wait_for_death(500ms));
}

BOOST_AUTO_TEST_CASE(a_worker_that_computes_for_ever_is_killed_and_one_that_waits_is_not) {
  const auto waits = start("waiting");
  const auto begun = std::chrono::steady_clock::now();
  const auto stuck = start("stuck 200");
  BOOST_REQUIRE(stuck.seen->wait_for_end());
  BOOST_TEST(stuck.seen->text.find("it made no progress for") != std::string::npos,
             stuck.seen->text);
  BOOST_TEST(ms(*stuck.seen->dying - begun) < 1000.0 * slowness);
  BOOST_TEST(!waits.seen->wait_for_death(0ms));
}

/// As one that hangs in the first step of its life, of which nobody knows how long it takes.
BOOST_AUTO_TEST_CASE(a_worker_that_stands_still_is_killed_long_before_its_budget_is_over) {
  const auto begun = std::chrono::steady_clock::now();
  const auto asleep = start("asleep 200");
  BOOST_REQUIRE(asleep.seen->wait_for_end());
  BOOST_TEST(asleep.seen->text.find("it made no progress for") != std::string::npos,
             asleep.seen->text);
  BOOST_TEST(ms(*asleep.seen->dying - begun) < 5000.0 * slowness, "of a budget of 30 s");
}

/// As on a kernel that cannot wait for many words (before Linux 5.16): later, and not less certain.
BOOST_AUTO_TEST_CASE(without_life_words_pidfds_alone_tell_of_every_end) { // C-2
  auto words = board::make();
  BOOST_REQUIRE(words.has_value());
  child_table children(*words, 300ms, child_table::watch::pidfds_only);
  const system_clock time;
  const auto start_child = [&](std::int32_t rank, std::string_view what) {
    const auto order = socket::make_shared_file("order", what.size());
    BOOST_REQUIRE(order.has_value());
    BOOST_REQUIRE(::pwrite(order->get(), what.data(), what.size(), 0) == std::ssize(what));
    const auto started = children.start({.rank = rank},
                                        {.program = programs() / "vdist-worker",
                                         .arguments = {"--order-fd", "3"},
                                         .descriptors = {order->get()}});
    BOOST_REQUIRE(started.has_value());
    return (*started)->pid();
  };
  std::deque<child_event> told; // one look may see that a child is given up, and its end
  const auto next_event = [&] {
    wait_until("something happens", [&] {
      for (auto& event : children.look(time.now())) {
        told.push_back(std::move(event));
      }
      return !told.empty();
    });
    const auto first = told.front();
    told.pop_front();
    return first;
  };
  const auto victim = start_child(0, "idle");
  wait_until("it holds its life", [&] { return words->life(0).owner.load() != 0; });
  ::kill(victim, SIGKILL);
  const auto killed = next_event();
  BOOST_TEST((killed.what == child_event::kind::ended), "nothing is known before it");
  BOOST_TEST(killed.pid == victim);
  BOOST_TEST(killed.text == "killed by signal 9 (Killed)");
  (void)start_child(1, "asleep 50");
  BOOST_TEST((next_event().what == child_event::kind::dying), "killed here, so it is known");
  const auto stuck = next_event();
  BOOST_TEST((stuck.what == child_event::kind::ended));
  BOOST_TEST(stuck.key.rank == 1);
}

BOOST_FIXTURE_TEST_CASE(who_hangs_again_at_once_is_found_as_soon_as_the_first,
                        table_fixture) { // V-5
  for (int incarnation = 0; incarnation < 4; ++incarnation) {
    BOOST_TEST(detection_of("asleep 200").count() == 350, "of a look, the bound, and the probe");
  }
}

BOOST_FIXTURE_TEST_CASE(doubts_end_with_work_that_no_look_has_seen, table_fixture) { // V-5, G-4
  BOOST_TEST(detection_of("stuck 200").count() == 350);
  BOOST_TEST(detection_of("stuck 200").count() == 550, "it may only have been slow");
  BOOST_TEST(detection_of("tired 200").count() == 350);
  BOOST_TEST(detection_of("stuck 200").count() == 550, "one more doubt, not the third");
}

BOOST_AUTO_TEST_CASE(nobody_is_suspected_on_a_machine_that_is_overloaded) {
  link->configure({.detect_ms = 60}); // a strict one
  const auto works = start("busy 40");
  std::atomic<bool> is_over{false};
  std::vector<std::thread> spinners;
  for (int i = 0; i < 8; ++i) {
    spinners.emplace_back([&is_over] {
      while (!is_over) {
      }
    });
  }
  const bool has_died = works.seen->wait_for_death(5s);
  is_over = true;
  for (auto& one : spinners) {
    one.join();
  }
  BOOST_TEST(!has_died, works.seen->text);
}

BOOST_AUTO_TEST_CASE(a_spare_takes_the_place_of_a_worker_and_is_replaced) {
  link->configure({.standby = 1});
  const auto spare_pid = [this] {
    for (auto& entry : (*link->board()).lives) {
      if (identity_of(entry).rank == -1 && entry.owner.load() != 0 && !is_marked_dead(entry)) {
        return static_cast<pid_t>(entry.owner.load() & 0x3fffffffU);
      }
    }
    return 0;
  };
  pid_t spare = 0;
  wait_until("a spare waits", [&] { return (spare = spare_pid()) != 0; });
  const auto promoted = start("idle");
  BOOST_TEST(promoted.pid == spare);
  wait_until("another spare waits", [&] {
    const auto now = spare_pid();
    return now != 0 && now != spare;
  });
  // A worker and its spare die together: the successor is a fresh process.
  const auto second = spare_pid();
  ::kill(second, SIGKILL);
  ::kill(promoted.pid, SIGKILL);
  wait_until("the spare's life is over", [&] { return spare_pid() != second; });
  BOOST_TEST(promoted.seen->wait_for_end());
  const auto successor = start("idle");
  BOOST_TEST(successor.pid != second);
  BOOST_TEST(is_running(successor.pid));
}

BOOST_AUTO_TEST_CASE(processes_end_with_their_supervisor) { // H-5
  const auto one = start("idle");
  link.reset();
  BOOST_TEST(one.seen->wait_for_end());
  wait_until("it is gone", [&one] { return !is_running(one.pid); });
}

BOOST_AUTO_TEST_SUITE_END()
