// The tree of a host: what dies takes down what depends on it, and is started again. Control process and workers are
// stand-ins that write down whom they found.
#include "tests/host/probe_folder.hpp"
#include "tests/support/process.hpp"

#include <sstream>
#include <vector>

#include "host/supervisor.hpp"

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// What a control process wrote down.
struct found_by_node {
  pid_t node = 0;
  std::vector<pid_t> workers;
  std::vector<pid_t> living; // told by the supervisor
  std::vector<std::uint64_t> hashes;
  pid_t vault = 0;
};

struct restart_fixture : probe_folder {
  restart_fixture() : probe_folder(false) {
    ::unsetenv("VDIST_PROBE_EXIT");
    ::unsetenv("VDIST_PROBE_WANTS");
    ::unsetenv("VDIST_PROBE_LIVES");
    ::unsetenv("VDIST_PROBE_RESTARTS");
    ::setenv("VDIST_PROBE_KEEPS", "1", 1);
  }

  process start() {
    return process({(programs() / "vdist-run").string()}, programs(), programs().string());
  }

  /// Waits for the report of the n-th control process.
  found_by_node report_of(int start) const {
    const auto path = programs() / ("node-" + std::to_string(start));
    wait_until(path.filename().string(), [&path] { return std::filesystem::exists(path); });
    std::ifstream file(path);
    found_by_node found;
    file >> found.node;
    for (std::string word; file >> word;) {
      pid_t pid = 0;
      if (word == "living") {
        std::int32_t rank = 0;
        std::uint64_t hash = 0;
        file >> rank >> pid >> hash;
        found.living.push_back(pid);
        found.hashes.push_back(hash);
      } else if (word == "worker") {
        file >> pid;
        found.workers.push_back(pid);
      } else {
        file >> found.vault;
      }
    }
    return found;
  }

  static void check_gone(const found_by_node& all) {
    for (const auto pid : {all.node, all.vault, all.workers.at(0), all.workers.at(1)}) {
      wait_until("it is gone", [pid] { return !is_running(pid); });
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(restarts, restart_fixture)

BOOST_AUTO_TEST_CASE(a_killed_node_is_replaced_and_finds_the_workers_that_live) { // P-4
  ::setenv("VDIST_PROBE_LIVES", "4", 1);
  auto run = start();
  const auto first = report_of(1);
  BOOST_TEST(first.living.empty());
  for (int life = 1; life < 4; ++life) {
    const auto before = report_of(life);
    ::kill(before.node, life == 2 ? SIGSEGV : SIGKILL);
    const auto after = report_of(life + 1);
    BOOST_TEST(after.node != before.node);
    BOOST_TEST(after.vault == first.vault);
    BOOST_TEST(after.living == first.workers, boost::test_tools::per_element());
    BOOST_TEST(after.hashes == (std::vector<std::uint64_t>{7, 7}),
               boost::test_tools::per_element());
  }
  BOOST_TEST(run.wait().exit_code == 0, "the last one ended by itself");
  check_gone(first);
}

BOOST_AUTO_TEST_CASE(a_successor_hears_of_a_worker_that_dies) {
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.node, SIGKILL);
  (void)report_of(2);
  ::kill(first.workers.at(1), SIGKILL);
  wait_until("it is told", [this] { return std::filesystem::exists(programs() / "ended-1-1"); });
  run.signal(SIGTERM);
  BOOST_TEST(run.wait().exit_code == 130);
}

BOOST_AUTO_TEST_CASE(a_worker_that_dies_without_a_node_is_not_among_the_living) {
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.workers.at(0), SIGKILL);
  wait_until("it is gone", [&first] { return state_of(first.workers.at(0)) == '\0'; });
  ::kill(first.node, SIGKILL);
  const auto second = report_of(2);
  BOOST_TEST(second.living == std::vector{first.workers.at(1)}, boost::test_tools::per_element());
  BOOST_TEST(second.workers.at(0) != first.workers.at(0));
  BOOST_TEST(second.workers.at(1) == first.workers.at(1));
}

BOOST_AUTO_TEST_CASE(a_dead_vault_is_replaced_and_nobody_else_is) { // H-15
  ::setenv("VDIST_PROBE_LIVES", "2", 1);
  for (const int signal : {SIGKILL, SIGSTOP, SIGSEGV}) {
    std::filesystem::remove(programs() / "node-1");
    std::filesystem::remove(programs() / "node-2");
    auto run = start();
    const auto first = report_of(1);
    ::kill(first.vault, signal);
    const auto vault = wait_for_successor(run, "vault", first.vault);
    BOOST_TEST(vault != 0);
    ::kill(first.node, SIGKILL); // the next one tells who is there
    const auto second = report_of(2);
    BOOST_TEST(second.living == first.workers, boost::test_tools::per_element());
    BOOST_TEST(second.vault == vault);
    BOOST_TEST(run.wait().exit_code == 0);
    check_gone(second);
  }
}

BOOST_AUTO_TEST_CASE(node_and_vault_may_die_at_once) { // H-10, H-15, P-4
  ::setenv("VDIST_PROBE_LIVES", "3", 1);
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.vault, SIGKILL);
  ::kill(first.node, SIGKILL);
  const auto vault = wait_for_successor(run, "vault", first.vault);
  const auto second = report_of(2);
  BOOST_TEST(second.living == first.workers, boost::test_tools::per_element());
  ::kill(second.node, SIGKILL);
  const auto third = report_of(3);
  BOOST_TEST(third.living == first.workers, boost::test_tools::per_element());
  BOOST_TEST(third.vault == vault);
  BOOST_TEST(run.wait().exit_code == 0);
  check_gone(third);
}

BOOST_AUTO_TEST_CASE(a_stopped_node_or_vault_is_a_dead_one) {
  ::setenv("VDIST_PROBE_LIVES", "3", 1);
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.node, SIGSTOP);
  const auto second = report_of(2);
  BOOST_TEST(second.living == first.workers, boost::test_tools::per_element());
  ::kill(second.vault, SIGSTOP);
  const auto vault = wait_for_successor(run, "vault", second.vault);
  ::kill(second.node, SIGKILL);
  const auto third = report_of(3);
  BOOST_TEST(third.living == first.workers, boost::test_tools::per_element());
  BOOST_TEST(third.vault == vault);
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_CASE(without_workers_to_keep_a_dead_node_takes_all_down) {
  ::setenv("VDIST_PROBE_KEEPS", "0", 1);
  ::setenv("VDIST_PROBE_LIVES", "2", 1);
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.node, SIGKILL);
  const auto second = report_of(2);
  BOOST_TEST(second.living.empty());
  BOOST_TEST(second.vault != first.vault);
  check_gone(first);
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_CASE(exit_codes_say_whether_a_successor_is_wanted) { // H-6
  ::setenv("VDIST_PROBE_RESTARTS", "2", 1);
  for (const int code : {0, 2, 3, 4, 130}) {
    ::setenv("VDIST_PROBE_EXIT", std::to_string(code).c_str(), 1);
    BOOST_TEST(start().wait().exit_code == code);
    BOOST_TEST(!std::filesystem::exists(programs() / "node-2"));
  }
  ::setenv("VDIST_PROBE_EXIT", "70", 1);
  const auto done = start().wait();
  BOOST_TEST(done.exit_code == 4);
  BOOST_TEST(done.err.find("vdist-node: exit code 70; after 2 restarts it is given up")
                 != std::string::npos,
             done.err);
}

BOOST_AUTO_TEST_CASE(a_node_that_ends_to_be_started_again_is_not_counted) { // H-6
  ::setenv("VDIST_PROBE_RESTARTS", "1", 1);
  ::setenv("VDIST_PROBE_EXIT", "75", 1);
  ::setenv("VDIST_PROBE_LIVES", "6", 1);
  auto run = start();
  const auto first = report_of(1);
  BOOST_TEST(report_of(6).living == first.workers, boost::test_tools::per_element());
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_node_that_wants_a_new_vault_gets_one_and_that_is_no_failure) { // H-13
  ::setenv("VDIST_PROBE_RESTARTS", "0", 1);
  ::setenv("VDIST_PROBE_EXIT", "75", 1);
  ::setenv("VDIST_PROBE_WANTS", "4", 1);
  ::setenv("VDIST_PROBE_LIVES", "4", 1);
  auto run = start();
  for (int life = 1; life < 4; ++life) {
    const auto before = report_of(life);
    const auto after = report_of(life + 1);
    BOOST_TEST(after.living.empty());
    BOOST_TEST(after.vault != before.vault);
    check_gone(before);
  }
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_node_that_dies_when_it_has_asked_for_a_new_vault_gets_one_too) { // H-13
  ::setenv("VDIST_PROBE_WANTS", "2", 1);
  ::setenv("VDIST_PROBE_LIVES", "3", 1);
  auto run = start();
  const auto first = report_of(1);
  ::kill(first.node, SIGKILL);
  const auto second = report_of(2);
  BOOST_TEST(second.living.empty());
  BOOST_TEST(second.vault != first.vault);
  check_gone(first);
  ::kill(second.node, SIGKILL);
  BOOST_TEST(report_of(3).living == second.workers, boost::test_tools::per_element());
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_SUITE_END()
