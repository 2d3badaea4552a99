#include "runtime/base/failpoint.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace vdist;
using namespace std::chrono_literals;

namespace {

using act = failpoint_action;

/// How often each outcome came in `reaches` reaches of "p".
std::vector<failpoint_outcome> outcomes(failpoints& points, int reaches) {
  std::vector<failpoint_outcome> all;
  for (int i = 0; i < reaches; ++i) {
    all.push_back(points.reach("p", {}));
  }
  return all;
}

/// What became of a child that did it: its wait status.
template <class Work>
int status_of_child(const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

} // namespace

BOOST_AUTO_TEST_CASE(acts_only_where_every_set_field_matches) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "worker.step_begin", .rank = 1, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_end", {.rank = 1, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 0, .step = 40}));
  BOOST_CHECK_NO_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 39}));
  BOOST_CHECK_THROW(points.reach("worker.step_begin", {.rank = 1, .step = 41}), failpoint_error);
  BOOST_TEST(points.hits().at(0) == 1U);
}

BOOST_AUTO_TEST_CASE(a_spent_rule_acts_no_more) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .count = 2}));
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_THROW(points.reach("p", {}), failpoint_error);
  BOOST_CHECK_NO_THROW(points.reach("p", {}));
}

BOOST_AUTO_TEST_CASE(kill_actor_runs_the_owners_hook) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = failpoint_action::kill_actor}));
  int killed = 0;
  points.reach("p", {}, [&killed] { ++killed; });
  BOOST_TEST(killed == 1);
}

BOOST_AUTO_TEST_CASE(nothing_armed_costs_nothing_and_clear_disarms) {
  failpoints points;
  BOOST_TEST(!points.is_armed());
  BOOST_REQUIRE(points.arm({.point = "p"}));
  BOOST_TEST(points.is_armed());
  points.clear();
  BOOST_TEST(!points.is_armed());
  BOOST_CHECK_NO_THROW(VDIST_FAILPOINT(points, "p", failpoint_context{}));
}

BOOST_AUTO_TEST_CASE(a_shared_table_is_armed_and_counted_over_all_its_users) {
  failpoint_table table;
  failpoints control(table);
  failpoints worker(table);
  failpoints successor(table);
  BOOST_REQUIRE(control.arm({.point = "p", .rank = 2, .count = 2}));
  BOOST_TEST(worker.is_armed());
  BOOST_CHECK_THROW(worker.reach("p", {.rank = 2}), failpoint_error);
  BOOST_CHECK_THROW(successor.reach("p", {.rank = 2}), failpoint_error);
  BOOST_CHECK_NO_THROW(successor.reach("p", {.rank = 2})); // F-2: the count is of all together
  BOOST_TEST(control.hits().at(0) == 2U);
}

BOOST_AUTO_TEST_CASE(refuses_what_does_not_fit_into_the_table) {
  failpoints points;
  BOOST_TEST(!points.arm({.point = std::string(failpoint_name_max + 1, 'p')}));
  for (std::size_t i = 0; i < failpoint_rules_max; ++i) {
    BOOST_REQUIRE(points.arm({.point = "p"}));
  }
  const auto refused = points.arm({.point = "p"});
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::resource_exhausted));
}

BOOST_AUTO_TEST_CASE(a_reader_sees_whole_rules_while_others_are_armed) { // F-3
  failpoints points;
  std::atomic<bool> is_done{false};
  std::thread reader([&points, &is_done] {
    while (!is_done) {
      // Both rules of a pair carry the same number in rank and step: a mixture would strike here.
      points.reach("p", {.rank = 1, .step = 0});
      points.reach("p", {.rank = 0, .step = 1});
    }
  });
  for (int round = 0; round < 2000; ++round) {
    const auto number = round % 2 == 0 ? 1 : 2;
    BOOST_REQUIRE(points.arm({.point = "p", .rank = number, .step = number}));
    points.clear();
  }
  is_done = true;
  reader.join();
}

BOOST_AUTO_TEST_CASE(what_the_caller_has_to_do_is_the_outcome) {
  const std::array pairs{std::pair(act::oom, failpoint_outcome::oom),
                         std::pair(act::device_error, failpoint_outcome::device_error),
                         std::pair(act::full, failpoint_outcome::full),
                         std::pair(act::drop, failpoint_outcome::drop),
                         std::pair(act::duplicate, failpoint_outcome::duplicate),
                         std::pair(act::reorder, failpoint_outcome::reorder),
                         std::pair(act::corrupt, failpoint_outcome::corrupt),
                         std::pair(act::truncate, failpoint_outcome::truncate),
                         std::pair(act::old_epoch, failpoint_outcome::old_epoch)};
  for (const auto& [action, outcome] : pairs) {
    failpoints points;
    BOOST_REQUIRE(points.arm({.point = "p", .action = action}));
    BOOST_TEST((points.reach("p", {}) == outcome), to_string(action));
    BOOST_TEST((points.reach("p", {}) == failpoint_outcome::go_on), to_string(action));
  }
  BOOST_TEST((failure_of(failpoint_outcome::oom, "p").error().code == errc::resource_exhausted));
  BOOST_TEST((failure_of(failpoint_outcome::full, "p").error().code == errc::resource_exhausted));
  BOOST_TEST((failure_of(failpoint_outcome::device_error, "p").error().code == errc::io_failed));
  BOOST_TEST(failure_of(failpoint_outcome::drop, "p").has_value());
  BOOST_TEST(failure_of(failpoint_outcome::go_on, "p").has_value());
}

BOOST_AUTO_TEST_CASE(a_chain_goes_on_when_a_link_is_spent) {
  failpoints points;
  BOOST_REQUIRE(
      points.arm({.point = "p",
                  .action = act::drop,
                  .count = 2,
                  .next = {{.action = act::corrupt}, {.action = act::full, .count = 0}}}));
  using out = failpoint_outcome;
  const std::vector<out> expected{out::drop, out::drop, out::corrupt, out::full, out::full};
  BOOST_TEST((outcomes(points, 5) == expected));
  BOOST_TEST(points.hits().at(0) == 5U);
  std::vector<std::uint32_t> links;
  for (const auto& hit : points.log()) {
    links.push_back(hit.link);
  }
  BOOST_TEST((links == std::vector<std::uint32_t>{0, 0, 1, 2, 2}));
}

BOOST_AUTO_TEST_CASE(a_chance_is_a_function_of_the_seed) { // F-5
  const auto play = [](std::uint64_t seed) {
    failpoints points;
    BOOST_REQUIRE(
        points.arm({.point = "p", .action = act::drop, .count = 0, .chance = 2500, .seed = seed}));
    return outcomes(points, 4000);
  };
  const auto first = play(7);
  BOOST_TEST((play(7) == first));
  BOOST_TEST((play(8) != first));
  const auto drops = std::count(first.begin(), first.end(), failpoint_outcome::drop);
  BOOST_TEST(drops > 850);
  BOOST_TEST(drops < 1150);
}

BOOST_AUTO_TEST_CASE(a_link_whose_chance_fails_leaves_the_hit_to_the_next) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p",
                            .action = act::drop,
                            .count = 0,
                            .chance = 5000,
                            .next = {{.action = act::full, .count = 0}}}));
  const auto all = outcomes(points, 200);
  const auto drops = std::count(all.begin(), all.end(), failpoint_outcome::drop);
  const auto fulls = std::count(all.begin(), all.end(), failpoint_outcome::full);
  BOOST_TEST(drops + fulls == 200);
  BOOST_TEST(drops > 60);
  BOOST_TEST(fulls > 60);
}

BOOST_AUTO_TEST_CASE(acts_from_the_nth_match_on_and_only_with_its_request) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::drop, .request = 3, .nth = 2}));
  const std::array<std::uint64_t, 2> others{1, 2};
  const std::array<std::uint64_t, 2> with{2, 3};
  BOOST_TEST((points.reach("p", {.requests = others}) == failpoint_outcome::go_on));
  BOOST_TEST(
      (points.reach("p", {.requests = with}) == failpoint_outcome::go_on)); // the first match
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::go_on));
  BOOST_TEST((points.reach("p", {.requests = with}) == failpoint_outcome::drop));
}

BOOST_AUTO_TEST_CASE(a_hit_is_logged_with_its_place_before_it_acts) { // F-4
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "other"}));
  BOOST_REQUIRE(points.arm({.point = "p", .count = 0}));
  const auto before = std::chrono::steady_clock::now().time_since_epoch();
  BOOST_CHECK_THROW(static_cast<void>(points.reach("p", {.replica = 1, .rank = 2, .step = 40})),
                    failpoint_error);
  const auto log = points.log();
  BOOST_REQUIRE(log.size() == 1U);
  BOOST_TEST(log[0].rule == 1U);
  BOOST_TEST((log[0].action == act::throw_error));
  BOOST_TEST(log[0].replica == 1);
  BOOST_TEST(log[0].rank == 2);
  BOOST_TEST(log[0].step == 40);
  BOOST_TEST(log[0].at_ns >= std::chrono::nanoseconds(before).count());
  points.clear();
  BOOST_TEST(points.log().empty());
}

BOOST_AUTO_TEST_CASE(more_hits_than_the_log_holds_are_counted_only) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::drop, .count = 0}));
  for (std::size_t i = 0; i < failpoint_hits_max + 100; ++i) {
    static_cast<void>(points.reach("p", {}));
  }
  BOOST_TEST(points.log().size() == failpoint_hits_max);
  BOOST_TEST(points.hits().at(0) == failpoint_hits_max + 100);
}

BOOST_AUTO_TEST_CASE(what_is_armed_can_be_read_back) {
  failpoints points;
  const failpoint_rule rule{.point = "worker.step_begin",
                            .replica = 1,
                            .stage = 2,
                            .rank = 3,
                            .step = 40,
                            .action = act::delay,
                            .argument = 20,
                            .count = 2,
                            .chance = 5050,
                            .request = 6,
                            .nth = 7,
                            .seed = 8,
                            .next = {{.action = act::kill9}}};
  BOOST_REQUIRE(points.arm(rule));
  const auto armed = points.list();
  BOOST_REQUIRE(armed.size() == 1U);
  BOOST_TEST((armed[0].rule == rule));
  BOOST_TEST(armed[0].hits == 0U);
  BOOST_TEST(to_string(rule)
             == "worker.step_begin replica=1 stage=2 rank=3 step=40 request=6 nth=7 "
                "50.50%2*delay(20)->kill9");
}

BOOST_AUTO_TEST_CASE(a_rule_in_the_place_of_another_keeps_its_count) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::drop}));
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::drop));
  BOOST_REQUIRE(points.rearm(0, {.point = "p", .action = act::full}));
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::full));
  BOOST_TEST(points.hits().at(0) == 2U);
  BOOST_TEST(!points.rearm(1, {.point = "p"}));
}

BOOST_AUTO_TEST_CASE(a_limit_holds_for_all_that_take_the_place) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::drop, .count = 0}));
  points.limit(0, 2);
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::drop));
  BOOST_REQUIRE(points.rearm(0, {.point = "p", .action = act::full, .count = 0}));
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::full));
  BOOST_TEST((points.reach("p", {}) == failpoint_outcome::go_on));
  BOOST_TEST(points.hits().at(0) == 2U);
}

BOOST_AUTO_TEST_CASE(slow_takes_as_many_times_as_long) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::slow, .argument = 3}));
  const auto before = std::chrono::steady_clock::now();
  static_cast<void>(points.reach("p", {.busy = 10ms}));
  BOOST_TEST((std::chrono::steady_clock::now() - before >= 20ms));
}

BOOST_AUTO_TEST_CASE(wait_goes_on_when_the_other_fault_has_struck) {
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::wait, .argument = 2}));
  BOOST_REQUIRE(points.arm({.point = "q", .action = act::drop}));
  std::atomic<bool> has_passed{false};
  std::thread waiting([&points, &has_passed] {
    static_cast<void>(points.reach("p", {}));
    has_passed = true;
  });
  while (points.hits().at(0) == 0) {
    std::this_thread::yield();
  }
  BOOST_TEST(!has_passed);
  static_cast<void>(points.reach("q", {}));
  waiting.join();
  BOOST_TEST(has_passed);
}

/// Begins to hang at "p".
std::thread hang_at_p(failpoints& points) {
  BOOST_REQUIRE(points.arm({.point = "p", .action = act::hang}));
  std::thread hanging([&points] { static_cast<void>(points.reach("p", {})); });
  while (points.hits().at(0) == 0) {
    std::this_thread::yield();
  }
  return hanging;
}

BOOST_AUTO_TEST_CASE(what_hangs_goes_on_when_the_rules_are_cleared) {
  failpoints points;
  auto hanging = hang_at_p(points);
  BOOST_REQUIRE(points.arm({.point = "q", .action = act::hang})); // changes nothing for it
  points.clear();
  hanging.join();
}

BOOST_AUTO_TEST_CASE(what_hangs_goes_on_when_another_rule_takes_the_place_of_its_own) {
  failpoints points;
  auto hanging = hang_at_p(points);
  BOOST_REQUIRE(points.rearm(0, {.point = "q", .action = act::hang}));
  hanging.join();
}

/// Whoever looks at the hits acts at once, and what has struck may still be on its way to hang.
BOOST_AUTO_TEST_CASE(what_is_about_to_hang_goes_on_too) {
  for (int i = 0; i < 3000; ++i) {
    failpoints points;
    auto hanging = hang_at_p(points);
    BOOST_REQUIRE(points.rearm(0, {.point = "q", .action = act::hang}));
    hanging.join();
  }
}

/// F-3. Who has seen a rule takes no hit of the one that takes its place.
BOOST_AUTO_TEST_CASE(every_rule_that_takes_the_place_of_another_strikes_itself) {
  constexpr std::array actions{act::delay, act::kill_actor};
  constexpr std::uint32_t rules = 500;
  failpoints points;
  BOOST_REQUIRE(points.arm({.point = "p", .action = actions[0]}));
  std::atomic<bool> is_over{false};
  std::vector<std::thread> reaching;
  for (int i = 0; i < 4; ++i) {
    reaching.emplace_back([&points, &is_over] {
      while (!is_over) {
        (void)points.reach("p", {}, [] {});
      }
    });
  }
  for (std::uint32_t armed = 1; armed < rules; ++armed) {
    while (points.log().size() < armed) {
      std::this_thread::yield();
    }
    BOOST_REQUIRE(points.rearm(0, {.point = "p", .action = actions.at(armed % 2)}));
  }
  while (points.log().size() < rules) {
    std::this_thread::yield();
  }
  is_over = true;
  for (auto& thread : reaching) {
    thread.join();
  }
  const auto log = points.log();
  BOOST_REQUIRE(log.size() == rules);
  for (std::size_t i = 0; i < log.size(); ++i) {
    BOOST_REQUIRE((log[i].action == actions.at(i % 2)));
  }
}

/// As a thread that waits for what never comes: whoever looks for one that stands still must not see it run.
BOOST_AUTO_TEST_CASE(what_hangs_never_runs) {
  failpoints points;
  auto hanging = hang_at_p(points);
  clockid_t cpu_time{};
  BOOST_REQUIRE(::pthread_getcpuclockid(hanging.native_handle(), &cpu_time) == 0);
  const auto used = [cpu_time] {
    timespec time{};
    BOOST_REQUIRE(::clock_gettime(cpu_time, &time) == 0);
    return std::pair(time.tv_sec, time.tv_nsec);
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool stands_still = false;
  while (!stands_still && std::chrono::steady_clock::now() < deadline) {
    const auto before = used();
    std::this_thread::sleep_for(std::chrono::milliseconds(20)); // the time is what is tested
    stands_still = used() == before;
  }
  BOOST_TEST(stands_still, "on its way to sleep it runs once more, and never again");
  points.clear();
  hanging.join();
}

BOOST_AUTO_TEST_CASE(actions_end_a_process_as_they_say) {
  const auto status_of = [](act action, std::int64_t argument) {
    return status_of_child([action, argument] {
      std::signal(SIGSEGV, SIG_DFL); // Boost.Test reports it otherwise
      failpoints points;
      if (points.arm({.point = "p", .action = action, .argument = argument})) {
        static_cast<void>(points.reach("p", {}));
      }
    });
  };
  const auto killed = status_of(act::kill9, 0);
  BOOST_TEST((WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL));
  const auto left = status_of(act::exit, 42);
  BOOST_TEST((WIFEXITED(left) && WEXITSTATUS(left) == 42));
  const auto crashed = status_of(act::segv, 0);
  BOOST_TEST((WIFSIGNALED(crashed) && WTERMSIG(crashed) == SIGSEGV));
}

BOOST_AUTO_TEST_CASE(a_stopped_process_goes_on_by_itself) {
  const auto stop = [] {
    failpoints points;
    if (points.arm({.point = "p", .action = act::stop, .argument = 50})) {
      static_cast<void>(points.reach("p", {}));
    }
  };
  for (const bool is_beside_others : {false, true}) { // who takes the signal differs
    for (int round = 0; round < 5; ++round) {
      const auto before = std::chrono::steady_clock::now();
      const pid_t child = ::fork();
      if (child == 0) {
        if (is_beside_others) {
          std::thread(stop).join();
        } else {
          stop();
        }
        ::_exit(7);
      }
      int status = 0;
      BOOST_REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
      BOOST_TEST(WIFSTOPPED(status));
      BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
      BOOST_TEST((WIFEXITED(status) && WEXITSTATUS(status) == 7));
      BOOST_TEST((std::chrono::steady_clock::now() - before >= 50ms));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_table_of_points_is_sound) {
  std::string_view before;
  for (const auto& place : failpoint_places()) {
    BOOST_TEST((before < place.name)); // alphabetical, each once
    BOOST_TEST(place.name.size() <= failpoint_name_max);
    BOOST_TEST(!place.where.empty());
    BOOST_TEST((find_failpoint(place.name) == &place));
    before = place.name;
  }
  BOOST_TEST((find_failpoint("worker.step") == nullptr));
  for (std::size_t i = 0; i < failpoint_actions; ++i) {
    const auto action = static_cast<act>(i);
    BOOST_TEST((action_of(to_string(action)) == action));
  }
  BOOST_TEST(!action_of("cuda"));
}
