// Workers as processes, seen from outside: signals end some of them, and nothing stays behind.
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <thread>

using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;

/// One process of /proc.
struct process_entry {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string command; // words separated by blanks
};

std::vector<process_entry> all_processes() {
  std::vector<process_entry> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    process_entry found{.pid = static_cast<pid_t>(std::stol(name))};
    std::ifstream stat(entry.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
    const auto behind_name = text.rfind(')');
    if (behind_name == std::string::npos || text[behind_name + 2] == 'Z') {
      continue; // gone, or dead and only not yet waited for
    }
    found.parent = static_cast<pid_t>(std::stol(text.substr(behind_name + 4)));
    std::ifstream words(entry.path() / "cmdline");
    found.command.assign(std::istreambuf_iterator<char>(words), std::istreambuf_iterator<char>());
    std::replace(found.command.begin(), found.command.end(), '\0', ' ');
    all.push_back(std::move(found));
  }
  return all;
}

bool is_alive(pid_t pid) {
  const auto all = all_processes();
  return std::any_of(all.begin(), all.end(), [pid](const auto& one) { return one.pid == pid; });
}

/// Looks until it is so, or fails the test.
void wait_until(const std::string& what, const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!is_so()) {
    BOOST_REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "never: " << what);
    std::this_thread::yield();
  }
}

std::set<std::string> shared_memory_files() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

struct process_fixture : run_fixture {
  process_fixture() {
    config =
        write_config(demo_model, "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n");
  }

  /// A story long enough to be disturbed.
  process start_story() {
    return start({"--prompt", "Once upon a time", "--seed", "1", "--max-tokens", "240", "--json"});
  }

  /// The children of vdist-run by program and, for workers, rank: "worker 1".
  static std::map<std::string, pid_t> children_of(pid_t parent) {
    std::map<std::string, pid_t> children;
    for (const auto& one : all_processes()) {
      if (one.parent != parent) {
        continue;
      }
      for (const std::string program : {"vdist-vault", "vdist-node", "vdist-worker"}) {
        if (one.command.find(program + " ") == std::string::npos) {
          continue;
        }
        const auto rank = one.command.find("--rank ");
        const bool is_worker = rank != std::string::npos;
        children[is_worker ? "worker " + one.command.substr(rank + 7, 1) : program] = one.pid;
      }
    }
    return children;
  }

  /// Waits until vault, control process and both workers are there.
  static std::map<std::string, pid_t> wait_for_all(const process& story) {
    std::map<std::string, pid_t> children;
    wait_until("all processes run", [&story, &children] {
      children = children_of(story.pid());
      return children.size() == 4;
    });
    return children;
  }

  static void check_nothing_stays(const std::map<std::string, pid_t>& children) {
    for (const auto& [name, pid] : children) {
      wait_until(name + " has ended", [pid = pid] { return !is_alive(pid); });
    }
  }

  std::vector<std::int32_t> ids_of(const process_result& done) {
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    return parse_lines(done.out).at(0).at("token_ids").get<std::vector<std::int32_t>>();
  }

  std::set<std::string> shared_memory_before = shared_memory_files();
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(worker_processes, process_fixture)

BOOST_AUTO_TEST_CASE(threads_and_processes_tell_the_same_story) {
  const auto in_processes = ids_of(start_story().wait());
  config = write_config(demo_model, "[cluster]\nisolation = \"thread\"\n");
  BOOST_TEST(in_processes == ids_of(start_story().wait()));
}

BOOST_AUTO_TEST_CASE(a_run_leaves_no_process_and_no_shared_memory) {
  auto story = start_story();
  const auto children = wait_for_all(story);
  BOOST_TEST(story.wait().exit_code == 0);
  check_nothing_stays(children);
  BOOST_TEST((shared_memory_files() == shared_memory_before));
}

BOOST_AUTO_TEST_CASE(a_killed_worker_is_replaced_and_the_story_is_the_same) {
  const auto expected = ids_of(start_story().wait());
  for (const char* victim : {"worker 0", "worker 1"}) {
    auto story = start_story();
    const auto children = wait_for_all(story);
    ::kill(children.at(victim), SIGKILL);
    wait_until("a successor", [&story, &children, victim] {
      const auto now = children_of(story.pid());
      const auto found = now.find(victim);
      return now.empty() || (found != now.end() && found->second != children.at(victim));
    });
    BOOST_TEST(ids_of(story.wait()) == expected);
    check_nothing_stays(children);
  }
}

BOOST_AUTO_TEST_CASE(whatever_ends_vdist_run_ends_all_that_it_started) { // H-5
  for (const int signal : {SIGKILL, SIGSEGV, SIGHUP}) {
    auto story = start_story();
    const auto children = wait_for_all(story);
    story.signal(signal);
    BOOST_TEST(story.wait().exit_code == 128 + signal);
    check_nothing_stays(children);
    BOOST_TEST((shared_memory_files() == shared_memory_before));
  }
}

BOOST_AUTO_TEST_CASE(an_interrupt_ends_the_run_with_its_own_exit_code) {
  for (const int signal : {SIGINT, SIGTERM}) {
    auto story = start_story();
    const auto children = wait_for_all(story);
    story.signal(signal); // to vdist-run alone: it is handed on
    BOOST_TEST(story.wait().exit_code == 130);
    check_nothing_stays(children);
  }
}

BOOST_AUTO_TEST_CASE(without_vault_or_control_process_the_run_ends_with_a_clear_error) { // H-6
  for (const std::string victim : {"vdist-vault", "vdist-node"}) {
    auto story = start_story();
    const auto children = wait_for_all(story);
    ::kill(children.at(victim), SIGKILL);
    const auto done = story.wait();
    BOOST_TEST(done.exit_code == 4);
    BOOST_TEST(done.err.find(victim + ": killed by signal 9") != std::string::npos, done.err);
    check_nothing_stays(children);
  }
}

BOOST_AUTO_TEST_CASE(a_worker_that_dies_again_and_again_ends_the_run) {
  const auto script = folder.write("kills.toml",
                                   "[[fault]]\nat = { point = \"worker.step_begin\", rank = 1 }\n"
                                   "action = \"kill9\"\ncount = 0\n");
  const auto done = run({"--prompt", "Once", "--faults", script.string()});
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(done.err.find("worker slot 1 died 6 times") != std::string::npos, done.err);
}

BOOST_AUTO_TEST_SUITE_END()
