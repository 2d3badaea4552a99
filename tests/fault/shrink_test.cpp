// A worker cannot come back: its requests move to another replica, or the cluster goes on with fewer workers, or, where
// nothing smaller is left, the run ends with its reason. Real processes, whose replacements are killed while they load.
#include "tests/fault/cluster_talk.hpp"
#include "tests/fault/holdings.hpp"
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 120s;

/// How a cluster is split, and which of its workers is lost.
struct loss {
  const char* name;
  int tensor = 1;
  int pipeline = 1;
  int data = 1;
  int rank = 0; // of its replica
  int replica = 0;
  const char* shrunk = ""; // as the log says it; empty: nothing shrinks
};

constexpr loss tensor_2{
    .name = "tensor 2", .tensor = 2, .rank = 1, .shrunk = "pipeline 1 -> 1, tensor 2 -> 1"};
constexpr loss pipeline_2{
    .name = "pipeline 2", .pipeline = 2, .rank = 1, .shrunk = "pipeline 2 -> 1, tensor 1 -> 1"};
constexpr loss both{.name = "tensor 2 x pipeline 2",
                    .tensor = 2,
                    .pipeline = 2,
                    .rank = 3,
                    .shrunk = "pipeline 2 -> 1, tensor 2 -> 2"};

/// Time to ask, when the first request has ended: long after the worker died.
const std::string held_at_the_first_result = "[[fault]]\nrule = \"batch.write delay(3000)\"\n";

struct shrink_fixture : run_fixture {
  shrink_fixture() {
    config = write_config(demo_model,
                          "[cluster]\nisolation = \"process\"\n"
                          "[fault_tolerance]\nmax_restarts = 1\nrestart_backoff_ms = 0\n");
    std::string lines;
    for (int i = 0; i < 8; ++i) {
      lines += fmt::format(
          R"({{"id": "r{}", "prompt": "One morning the king", "seed": {}, "ignore_eos": true, )"
          R"("max_tokens": {}{}}})"
          "\n",
          i,
          i,
          90 + i,
          i % 3 == 0   ? R"(, "temperature": 0)"
          : i % 3 == 1 ? R"(, "repetition_penalty": 1.2, "n": 2)"
                       : R"(, "logprobs": 2)");
    }
    input = folder.write("in.jsonl", lines).string();
  }

  static std::vector<std::string> split_of(const loss& what) {
    return {"--set",
            fmt::format("parallel.tensor={}", what.tensor),
            "--set",
            fmt::format("parallel.pipeline={}", what.pipeline),
            "--set",
            fmt::format("parallel.data={}", what.data)};
  }

  /// The worker dies at that step, and all that follow it while they load.
  static std::string rules_of(const loss& what, const std::string& load = "kill9") {
    return fmt::format(
        "[[fault]]\nrule = \"worker.step_begin replica={0} rank={1} step=30 kill9\"\n"
        "[[fault]]\nat = {{ point = \"worker.load\", replica = {0}, rank = {1} }}\n"
        "action = \"{2}\"\ncount = 0\n",
        what.replica,
        what.rank,
        load);
  }

  process start_batch(std::vector<std::string> arguments, const std::string& rules) {
    std::filesystem::remove(output);
    arguments.insert(arguments.begin(), {"--input", input, "--output", output});
    if (!rules.empty()) {
      arguments.insert(arguments.end(), {"--faults", folder.write("script.toml", rules).string()});
    }
    return start(arguments);
  }

  process_result batch(std::vector<std::string> arguments, const std::string& rules) {
    auto run = start_batch(std::move(arguments), rules);
    auto done = wait_for_end(run, patience);
    BOOST_REQUIRE_MESSAGE(done.has_value(), "it does not end: " << run.err());
    return *done;
  }

  /// Everything that was written but how long it took, in any order.
  [[nodiscard]] std::vector<nlohmann::json> written() const {
    auto lines = parse_lines(read(output));
    for (auto& line : lines) {
      line.erase("timings");
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  }

  /// What one worker writes when nothing happens.
  const std::vector<nlohmann::json>& undisturbed() {
    if (expected.empty()) {
      const auto done = batch({}, "");
      BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
      expected = written();
      BOOST_REQUIRE(expected.size() == 11U);
    }
    return expected;
  }

  void check_streams(const std::string& name) {
    const auto found = written();
    BOOST_TEST((found == undisturbed()), name << ": " << found.size() << " lines");
  }

  /// nullopt: it never came to that.
  static std::optional<control::cluster_status>
  status_when(const process& run, bool (*is_so)(const control::cluster_status&)) {
    const cluster_talk cluster(run.pid());
    std::optional<control::cluster_status> seen;
    const bool is_seen = wait_while_running(run, patience, [&cluster, &seen, is_so] {
      seen = cluster.status();
      return seen && is_so(*seen);
    });
    return is_seen ? seen : std::nullopt;
  }

  static bool has(const process_result& done, const std::string& text) {
    return done.err.find(text) != std::string::npos;
  }

  std::string input;
  std::string output = (work / "out.jsonl").string();
  std::vector<nlohmann::json> expected;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(a_worker_that_cannot_come_back, shrink_fixture)

BOOST_AUTO_TEST_CASE(leaves_a_smaller_cluster_that_goes_on_with_the_same_streams) {
  (void)undisturbed();
  for (const auto& what : {tensor_2, pipeline_2, both}) {
    const auto done = batch(split_of(what), rules_of(what));
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(has(done, what.shrunk), done.err);
    BOOST_TEST(has(done, "sums keep their order"), done.err);
    check_streams(what.name);
  }
}

/// Rank 1 is there in each shape but the last.
BOOST_AUTO_TEST_CASE(leaves_an_even_smaller_one_when_that_happens_again) { // Z-3
  (void)undisturbed();
  auto what = both;
  what.rank = 1;
  const auto done = batch(split_of(what), rules_of(what));
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(has(done, "goes on with 2 of 4 workers (pipeline 2 -> 1, tensor 2 -> 2"), done.err);
  BOOST_TEST(has(done, "goes on with 1 of 4 workers (pipeline 1 -> 1, tensor 2 -> 1"), done.err);
  check_streams(what.name);
}

BOOST_AUTO_TEST_CASE(ends_the_run_with_its_reason_when_one_worker_is_left_and_dies_too) {
  auto what = tensor_2;
  what.rank = 0;
  const auto done = batch(split_of(what), rules_of(what));
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(has(done, "goes on with 1 of 2 workers"), done.err);
  BOOST_TEST(has(done, "worker slot 0 died 2 times within 60 s; a replica has one worker already"),
             done.err);
}

BOOST_AUTO_TEST_CASE(ends_the_run_with_its_reason_when_memory_does_not_suffice_for_fewer) {
  auto arguments = split_of(tensor_2);
  // 16 blocks of 16 tokens per sequence; half a block per worker takes 32 KiB.
  arguments.insert(arguments.end(), {"--set", "device.kv_cache_bytes=589824"});
  const auto done = batch(arguments, rules_of(tensor_2));
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(has(done,
                 "worker slot 1 died 2 times within 60 s; no smaller shape fits; pipeline 1 x "
                 "tensor 1: memory: "
                 "the KV cache of one sequence of 256 tokens needs 1.0 MiB"),
             done.err);
  BOOST_TEST(!has(done, "goes on with"), done.err);
}

BOOST_AUTO_TEST_CASE(ends_the_run_with_its_reason_when_nothing_may_shrink) {
  auto arguments = split_of(tensor_2);
  arguments.insert(arguments.end(), {"--set", "fault_tolerance.shrink=false"});
  const auto done = batch(arguments, rules_of(tensor_2));
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(has(done, "worker slot 1 died 2 times within 60 s"), done.err);
  BOOST_TEST(!has(done, "goes on with"), done.err);
}

BOOST_AUTO_TEST_CASE(moves_its_requests_to_another_replica_and_the_capacity_is_shown) {
  (void)undisturbed();
  const loss data_2{.name = "data 2", .data = 2, .replica = 1};
  auto run = start_batch(split_of(data_2), rules_of(data_2) + held_at_the_first_result);
  const auto seen = status_when(
      run, [](const control::cluster_status& status) { return status.capacity.workers == 1; });
  const auto done = wait_for_end(run, patience);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->exit_code == 0, done->err);
  BOOST_TEST(has(*done, "goes on with 1 of 2 workers; requests of replica 1 move to others"),
             done->err);
  check_streams(data_2.name);
  BOOST_REQUIRE(seen.has_value());
  BOOST_TEST(seen->capacity.configured == 2);
  BOOST_TEST(seen->capacity.reason == "worker slot 0 died 2 times within 60 s");
  BOOST_TEST(seen->replicas.at(0).capacity.workers == 1);
  BOOST_TEST(seen->replicas.at(0).capacity.reason.empty());
  BOOST_TEST(seen->replicas.at(1).capacity.workers == 0);
  BOOST_TEST(seen->replicas.at(1).capacity.configured == 1);
}

BOOST_AUTO_TEST_CASE(is_seen_in_the_status_of_the_smaller_cluster) {
  (void)undisturbed();
  auto run = start_batch(split_of(tensor_2), rules_of(tensor_2) + held_at_the_first_result);
  const auto seen = status_when(run, [](const control::cluster_status& status) {
    return status.capacity.workers == 1 && status.replicas.at(0).state == "running";
  });
  const auto done = wait_for_end(run, patience);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->exit_code == 0, done->err);
  check_streams(tensor_2.name);
  BOOST_REQUIRE(seen.has_value());
  BOOST_TEST(seen->tensor == 1);
  BOOST_TEST(seen->capacity.configured == 2);
  BOOST_TEST(seen->capacity.since_s > 0);
  BOOST_TEST(seen->capacity.reason == "replica 0: worker slot 1 died 2 times within 60 s");
  BOOST_TEST((seen->replicas.at(0).capacity == seen->capacity));
}

BOOST_AUTO_TEST_CASE(may_take_the_control_process_with_it_at_every_step) { // Z-1, Z-2
  (void)undisturbed();
  for (const int step : {1, 2, 3}) {
    const auto done =
        batch(split_of(tensor_2),
              rules_of(tensor_2)
                  + fmt::format("[[fault]]\nrule = \"cluster.reduce nth={} kill9\"\n", step));
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(has(done, "vdist-node: killed by signal 9"), done.err);
    check_streams(fmt::format("step {}", step));
  }
}

BOOST_AUTO_TEST_CASE(may_hang_while_it_loads_instead_of_dying) {
  (void)undisturbed();
  auto arguments = split_of(tensor_2);
  arguments.insert(arguments.end(), {"--set", "fault_tolerance.load_deadline_s=1"});
  const auto done = batch(arguments, rules_of(tensor_2, "hang"));
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(has(done, tensor_2.shrunk), done.err);
  check_streams("hang");
}

/// Whoever is promoted loads like any other, and dies of it.
BOOST_AUTO_TEST_CASE(leaves_no_spare_of_the_larger_cluster) {
  (void)undisturbed();
  auto arguments = split_of(both);
  arguments.insert(
      arguments.end(),
      {"--set", "fault_tolerance.standby=1", "--set", "fault_tolerance.standby_kind=prepared"});
  auto run = start_batch(arguments, rules_of(both) + held_at_the_first_result);
  const auto seen = status_when(run, [](const control::cluster_status& status) {
    const auto is_ready = [](const auto& one) {
      return one.is_ready && one.rank < 2;
    };
    return status.capacity.workers == 2 && status.spares.size() == 2
           && std::all_of(status.spares.begin(), status.spares.end(), is_ready);
  });
  BOOST_TEST(seen.has_value(), run.err());
  const auto done = wait_for_end(run, patience);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->exit_code == 0, done->err);
  BOOST_TEST(has(*done, both.shrunk), done->err);
  check_streams(both.name);
}

/// From giving up to the next character of a story, as its reader sees it.
BOOST_AUTO_TEST_CASE(interrupts_a_story_for_a_moment) {
  const std::vector<std::string> story{
      "--prompt", "Once upon a time", "--seed", "1", "--max-tokens", "240"};
  const auto expected_story = run(story);
  BOOST_REQUIRE(expected_story.exit_code == 0);
  for (int round = 0; round < 3; ++round) {
    auto arguments = split_of(tensor_2);
    arguments.insert(arguments.end(), story.begin(), story.end());
    arguments.insert(arguments.end(),
                     {"--faults", folder.write("story.toml", rules_of(tensor_2)).string()});
    auto told = start(arguments);
    const auto waits_for = [&told](const auto& is_so) {
      BOOST_REQUIRE(wait_while_running(told, patience, is_so));
      return std::chrono::steady_clock::now();
    };
    const auto given_up =
        waits_for([&told] { return told.err().find("goes on with 1 of 2") != std::string::npos; });
    (void)waits_for( // what it said last is out
        [&told] { return told.err().find("wants a new vault") != std::string::npos; });
    const auto length = told.out().size();
    const auto goes_on = waits_for([&told, length] { return told.out().size() > length; });
    const std::chrono::duration<double, std::milli> pause = goes_on - given_up;
    fmt::print("from giving up to the next token: {:.0f} ms\n", pause.count());
    std::fflush(stdout);
    BOOST_TEST((pause < patience));
    const auto done = wait_for_end(told, patience);
    BOOST_REQUIRE(done.has_value());
    BOOST_TEST(done->exit_code == 0, done->err);
    BOOST_TEST(done->out == expected_story.out);
  }
}

BOOST_AUTO_TEST_SUITE_END()
