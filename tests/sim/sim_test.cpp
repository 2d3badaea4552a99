// A whole cluster under faults, from seeds: as many schedules as fit the time. What breaks an invariant is printed with its
// seed and a shortened list of events; VDIST_SIM_SEED=n runs that one alone, VDIST_TEST_ROUNDS=n so many schedules,
// VDIST_TEST_THREADS=n on so many threads.
#include "tests/sim/world.hpp"

#include "runtime/base/log.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// Without VDIST_TEST_ROUNDS and VDIST_TEST_LONG.
constexpr std::chrono::seconds time_allowed{30};
constexpr std::uint64_t schedules_long = 100'000;
/// Sanitizers cost twenty times as much.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double schedules_a_minute = 0;
#else
constexpr double schedules_a_minute = 1000;
#endif
constexpr std::uint64_t schedules_least = 200;
constexpr std::uint64_t poison_schedules = 300;
/// One for each core that a small machine has.
constexpr int threads = 2;
constexpr int shrink_tries = 200;

thread_local std::uint64_t seed_under_way = 0;

/// A VDIST_CHECK of the code under test ends the program: it says at least where.
void on_abort(int /*signal*/) {
  char text[64];
  const auto length =
      std::snprintf(text,
                    sizeof text,
                    "aborted: VDIST_SIM_SEED=%llu\n",
                    static_cast<unsigned long long>(seed_under_way)); // NOLINT(google-runtime-int)
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) {
    _exit(1);
  }
  std::signal(SIGABRT, SIG_DFL);
}

std::optional<std::uint64_t> number_of(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::nullopt : std::optional(std::strtoull(text, nullptr, 10));
}

struct outcome {
  std::string breach;
  sim_counts counts;
};

outcome run(const sim_schedule& schedule) {
  seed_under_way = schedule.seed;
  sim_world world(schedule);
  world.run();
  return {world.breach(), world.counts()};
}

/// The breach, with the shortest schedule that was found for it.
std::string report(const sim_schedule& broken, const std::string& breach) {
  const auto shorter = shrink(
      broken,
      [](const sim_schedule& candidate) { return !run(candidate).breach.empty(); },
      shrink_tries);
  return fmt::format("{}\nreplay: VDIST_SIM_SEED={}\nshortened to {} of {} events ({}):\n{}",
                     breach,
                     broken.seed,
                     shorter.events.size(),
                     broken.events.size(),
                     run(shorter).breach,
                     describe(shorter));
}

struct sweep {
  std::atomic<std::uint64_t> next_seed{1};
  std::atomic<std::uint64_t> done{0};
  std::uint64_t seeds_max = 0;
  std::chrono::steady_clock::time_point until;
  std::mutex mutex;
  sim_counts counts;                 // guarded by mutex
  std::vector<std::string> breaches; // guarded by mutex
  std::atomic<bool> is_broken{false};

  [[nodiscard]] bool is_over(std::uint64_t seed) const {
    return is_broken || seed > seeds_max
           || (seed > schedules_least && std::chrono::steady_clock::now() >= until);
  }

  void work() {
    sim_counts mine;
    for (auto seed = next_seed++; !is_over(seed); seed = next_seed++) {
      const auto schedule = make_schedule(seed);
      const auto result = run(schedule);
      mine.add(result.counts);
      ++done;
      if (!result.breach.empty() && !is_broken.exchange(true)) {
        const auto text = report(schedule, result.breach);
        const std::lock_guard lock(mutex);
        breaches.push_back(text);
      }
    }
    const std::lock_guard lock(mutex);
    counts.add(mine);
  }
};

void print(std::uint64_t schedules, const sim_counts& counts, double seconds) {
  std::string faults;
  for (std::size_t i = 0; i < counts.suffered.size(); ++i) {
    faults += fmt::format(" {}={}", to_string(static_cast<sim_event::kind>(i)), counts.suffered[i]);
  }
  BOOST_TEST_MESSAGE(fmt::format(
      "simulated: {} schedules in {:.1f} s ({:.0f} a minute), {} events, {} steps, {} tokens, {} "
      "requests failed with their replica; after takeovers {} tokens found with their KV, {} "
      "computed again; {} late writes of dead workers;{}",
      schedules,
      seconds,
      static_cast<double>(schedules) * 60 / seconds,
      counts.events,
      counts.steps,
      counts.tokens,
      counts.failed,
      counts.restored,
      counts.computed_again,
      counts.late_writes,
      faults));
}

} // namespace

BOOST_AUTO_TEST_SUITE(sim)

BOOST_AUTO_TEST_CASE(a_schedule_is_a_function_of_its_seed) {
  log::initialise("off");
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    const auto schedule = make_schedule(seed);
    BOOST_TEST(describe(schedule) == describe(make_schedule(seed)));
    BOOST_TEST(run(schedule).counts.events == run(schedule).counts.events);
  }
}

/// X-10, S-10, R-11: whoever is poisonous fails, whoever is not gets all its tokens, and no replica is given up.
BOOST_AUTO_TEST_CASE(poisonous_requests_fail_alone) {
  log::initialise("off");
  std::signal(SIGABRT, on_abort);
  sim_counts sum;
  const auto schedules = number_of("VDIST_TEST_ROUNDS").value_or(poison_schedules);
  for (std::uint64_t seed = 1; seed <= schedules; ++seed) {
    const auto schedule = make_poison_schedule(seed);
    const auto result = run(schedule);
    sum.add(result.counts);
    BOOST_REQUIRE_MESSAGE(result.breach.empty(), report(schedule, result.breach));
  }
  print(schedules, sum, 1);
  BOOST_TEST(sum.failed > schedules / 4);
  BOOST_TEST(sum.given_up == 0U);
}

BOOST_AUTO_TEST_CASE(a_cluster_keeps_its_promises_under_every_schedule) {
  log::initialise("off");
  std::signal(SIGABRT, on_abort);
  if (const auto seed = number_of("VDIST_SIM_SEED")) {
    const auto schedule = make_schedule(*seed);
    const auto result = run(schedule);
    print(1, result.counts, 1);
    BOOST_TEST(result.breach == "", report(schedule, result.breach));
    return;
  }
  sweep all;
  const auto start = std::chrono::steady_clock::now();
  auto rounds = number_of("VDIST_TEST_ROUNDS");
  if (!rounds && std::getenv("VDIST_TEST_LONG") != nullptr) {
    rounds = schedules_long;
  }
  all.seeds_max = rounds.value_or(~std::uint64_t{0});
  all.until = rounds ? std::chrono::steady_clock::time_point::max() : start + time_allowed;
  std::vector<std::thread> workers;
  const auto count = number_of("VDIST_TEST_THREADS").value_or(threads);
  for (std::uint64_t i = 0; i < count; ++i) {
    workers.emplace_back([&all] { all.work(); });
  }
  for (auto& worker : workers) {
    worker.join();
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  print(all.done, all.counts, taken.count());
  BOOST_TEST(static_cast<double>(all.done) * 60 / taken.count() >= schedules_a_minute);
  BOOST_TEST(all.breaches.empty(), (all.breaches.empty() ? "" : all.breaches.front()));
}

BOOST_AUTO_TEST_SUITE_END()
