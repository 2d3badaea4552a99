// A machine that has four times as much to do as it can: nobody is suspected, ended or replaced for being slow. 20 seconds;
// 30 minutes with VDIST_TEST_LONG=1. VDIST_TEST_SECONDS=<n> overrides both.
#include "tests/fault/cluster_talk.hpp"
#include "tests/fault/holdings.hpp"
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;
/// For each core: with them it is four times oversubscribed.
constexpr unsigned spinners_per_core = 4;

std::chrono::seconds duration_of_soak() {
  if (const char* wanted = std::getenv("VDIST_TEST_SECONDS")) {
    return std::chrono::seconds(std::stol(wanted));
  }
  return std::getenv("VDIST_TEST_LONG") != nullptr ? std::chrono::seconds(30min) : 20s;
}

/// Those that this process may use, which may be fewer than the machine has.
unsigned usable_cores() {
  cpu_set_t set;
  const bool is_known = ::sched_getaffinity(0, sizeof set, &set) == 0;
  return is_known ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

/// Processes that only compute; they end with this object, or with the test.
class spinners {
public:
  explicit spinners(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (std::atomic<unsigned> spin{0};;) {
          spin.fetch_add(1, std::memory_order_relaxed);
        }
      }
      if (child > 0) {
        children_.push_back(child);
      }
    }
  }

  ~spinners() {
    for (const auto child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

  spinners(const spinners&) = delete;
  spinners& operator=(const spinners&) = delete;

  [[nodiscard]] std::size_t size() const { return children_.size(); }

private:
  std::vector<pid_t> children_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(false_suspicions, run_fixture)

BOOST_AUTO_TEST_CASE(a_machine_that_is_overloaded_suspects_nobody) {
  config = write_config(demo_model,
                        "[parallel]\ntensor = 2\npipeline = 2\n[cluster]\nisolation = \"process\"\n"
                        "[scheduler]\nmax_sequences = 16\n");
  const auto seconds = duration_of_soak();
  std::string lines;
  for (std::int64_t i = 0; i < 50 * (20 + seconds.count()); ++i) { // it is drained before
    lines += "{\"prompt\": \"One morning\", \"seed\": " + std::to_string(i)
             + ", \"max_tokens\": " + std::to_string(40 + i % 160) + ", \"ignore_eos\": true}\n";
  }
  const auto input = folder.write("in.jsonl", lines).string();
  const spinners load(spinners_per_core * usable_cores());
  auto program = start({"--input", input, "--output", (work / "out").string(), "--quiet"});
  const cluster_talk cluster(program.pid());
  BOOST_REQUIRE_MESSAGE(
      wait_while_running(program, patience, [&cluster] { return cluster.status().has_value(); }),
      program.err());
  const auto processes = children_of(program.pid());
  BOOST_TEST(processes.size() == 6U);
  const auto end = std::chrono::steady_clock::now() + seconds;
  while (std::chrono::steady_clock::now() < end && !has_ended(program)) {
    std::this_thread::sleep_for(100ms); // the time is what is tested
  }
  BOOST_REQUIRE_MESSAGE(!has_ended(program), "the input was too short\n" << program.err());
  const auto after = children_of(program.pid());
  BOOST_TEST((after == processes), "a process was replaced\n" << program.err());
  std::optional<control::cluster_status> status;
  wait_while_running(program, patience, [&cluster, &status] {
    status = cluster.status();
    return status.has_value();
  });
  BOOST_REQUIRE(status.has_value());
  BOOST_TEST(status->replicas.at(0).restarts == 0U);
  BOOST_TEST(status->replicas.at(0).epoch == 1U, "a step was given up\n" << program.err());
  fmt::print("{} s beside {} spinners: {} steps, {} tokens, {} worker restarts, epoch {}\n",
             seconds.count(),
             load.size(),
             status->replicas.at(0).steps,
             status->replicas.at(0).tokens,
             status->replicas.at(0).restarts,
             status->replicas.at(0).epoch);
  BOOST_TEST(cluster.drain());
  const auto done = wait_for_end(program, patience);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->exit_code == 0, done->err);
  BOOST_TEST(done->err.find("killed") == std::string::npos, done->err);
}

BOOST_AUTO_TEST_SUITE_END()
