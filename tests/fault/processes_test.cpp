// Workers as processes, seen from outside: signals end some of them, and nothing stays behind.
#include "tests/support/process_tree.hpp"
#include "tests/support/run_fixture.hpp"

using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t processes = 4; // vault, control process, two workers

struct process_fixture : run_fixture {
  process_fixture() {
    config =
        write_config(demo_model, "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n");
  }

  /// A story long enough to be disturbed.
  process start_story() {
    return start({"--prompt", "Once upon a time", "--seed", "1", "--max-tokens", "240", "--json"});
  }

  static process_tree wait_for_all(const process& story) {
    return wait_for_children(story, processes);
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
    static_cast<void>(wait_for_successor(story, victim, children.at(victim)));
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

BOOST_AUTO_TEST_CASE(
    a_killed_vault_or_control_process_is_replaced_and_the_story_is_the_same) { // H-6
  const auto expected = ids_of(start_story().wait());
  for (const std::string victim : {"vault", "node"}) {
    for (const int signal : {SIGKILL, SIGSTOP}) {
      auto story = start_story();
      const auto children = wait_for_all(story);
      ::kill(children.at(victim), signal);
      static_cast<void>(wait_for_successor(story, victim, children.at(victim)));
      const auto done = story.wait();
      BOOST_TEST(ids_of(done) == expected);
      BOOST_TEST(done.err.find("vdist-" + victim + ": killed by signal 9") != std::string::npos,
                 done.err);
      check_nothing_stays(children);
    }
  }
  BOOST_TEST((shared_memory_files() == shared_memory_before));
}

BOOST_AUTO_TEST_CASE(what_streams_to_stdout_comes_once_whoever_dies_meanwhile) { // H-8
  const auto story_of = [this] {
    return start({"--prompt", "Once upon a time", "--seed", "1", "--max-tokens", "240"});
  };
  const auto expected = story_of().wait();
  BOOST_REQUIRE(expected.exit_code == 0);
  for (const std::string victim : {"node", "vault"}) {
    auto story = story_of();
    const auto children = wait_for_all(story);
    wait_until("it tells", [&story] { return story.out().size() > 100 || !is_alive(story.pid()); });
    ::kill(children.at(victim), SIGKILL);
    const auto done = story.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.out == expected.out);
  }
}

BOOST_AUTO_TEST_CASE(a_control_process_that_dies_again_and_again_ends_the_run) { // H-6
  config = write_config(demo_model,
                        "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n"
                        "[fault_tolerance]\nmax_restarts = 1\n");
  auto story = start_story();
  const auto first = wait_for_all(story).at("node");
  ::kill(first, SIGKILL);
  const auto second = wait_for_successor(story, "node", first);
  BOOST_REQUIRE(second != 0);
  ::kill(second, SIGKILL);
  const auto done = story.wait();
  BOOST_TEST(done.exit_code == 4);
  BOOST_TEST(done.err.find("after 1 restarts it is given up") != std::string::npos, done.err);
}

BOOST_AUTO_TEST_CASE(a_worker_that_dies_again_and_again_ends_the_run) {
  const auto script = folder.write("kills.toml",
                                   "[[fault]]\nat = { point = \"worker.step_begin\", rank = 1 }\n"
                                   "action = \"kill9\"\ncount = 0\n");
  const auto done = run({"--prompt",
                         "Once",
                         "--faults",
                         script.string(),
                         "--set",
                         "fault_tolerance.shrink=false",
                         "--set",
                         "fault_tolerance.poison_strikes=0"});
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(done.err.find("worker slot 1 died 6 times") != std::string::npos, done.err);
}

BOOST_AUTO_TEST_SUITE_END()
