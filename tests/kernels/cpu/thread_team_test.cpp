#include "kernels/cpu/thread_team.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

namespace {

using vdist::kernels::thread_team;

double process_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

} // namespace

// T-1
BOOST_AUTO_TEST_CASE(every_unit_runs_exactly_once_and_its_writes_are_seen) {
  for (const std::int32_t threads : {1, 2, 3, 5}) {
    thread_team team(threads);
    BOOST_TEST(team.threads() == threads);
    for (const std::int32_t units : {0, 1, 2, 3, 17, 1000}) {
      std::vector<int> runs(static_cast<std::size_t>(units),
                            0); // plain: run() must order the writes
      team.run(units, [&runs](std::int32_t unit, std::int32_t) {
        ++runs[static_cast<std::size_t>(unit)];
      });
      BOOST_TEST(runs == std::vector<int>(static_cast<std::size_t>(units), 1));
    }
  }
}

BOOST_AUTO_TEST_CASE(many_short_jobs_in_a_row_lose_nothing) {
  thread_team team(3);
  std::array<std::int64_t, 3> per_thread{};
  for (int job = 0; job < 20000; ++job) {
    team.run(4, [&per_thread](std::int32_t, std::int32_t thread) {
      ++per_thread[static_cast<std::size_t>(thread)];
    });
  }
  BOOST_TEST(per_thread[0] + per_thread[1] + per_thread[2] == 80000);
}

// T-3: with helpers asleep, work still completes, and the sleepers are woken by it.
BOOST_AUTO_TEST_CASE(idle_helpers_cost_nothing_and_wake_for_work) {
  thread_team team(3);
  std::atomic<int> ran{0};
  const auto count = [&ran](std::int32_t, std::int32_t) {
    ran.fetch_add(1);
  };
  team.run(8, count);
  // Far beyond the spin budget; what is measured is processor time, so a busy machine does not
  // matter.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = process_cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  BOOST_TEST(process_cpu_seconds() - before < 0.005);
  team.run(8, count);
  BOOST_TEST(ran.load() == 16);
}

// T-2: two teams of two on however few cores must both make progress.
BOOST_AUTO_TEST_CASE(teams_that_share_the_cores_do_not_starve_each_other) {
  const auto work = [] {
    thread_team team(2);
    std::atomic<std::int64_t> sum{0};
    for (int job = 0; job < 2000; ++job) {
      team.run(4, [&sum](std::int32_t unit, std::int32_t) {
        sum.fetch_add(unit, std::memory_order_relaxed);
      });
    }
    return sum.load();
  };
  std::array<std::int64_t, 3> sums{};
  std::vector<std::thread> workers;
  for (std::int64_t& sum : sums) {
    workers.emplace_back([&sum, &work] { sum = work(); });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  for (const std::int64_t sum : sums) {
    BOOST_TEST(sum == 2000 * 6);
  }
}
