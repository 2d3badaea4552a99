// The fault matrix: real processes, every class of fault in every phase of a request, with every way of choosing tokens and
// every split of the model (fault_cells.hpp). Each cell is a run of vdist-run over the same input; its results must be those
// of one worker that nothing happened to: text, tokens, reasons, log probabilities bit by bit, each once.
// The short run takes a pairwise selection, VDIST_TEST_LONG=1 all cells, VDIST_TEST_ROUNDS times. VDIST_TEST_CELL=<text> takes the
// cells whose name has that text; VDIST_TEST_SHARD=i/n every n-th one.
#include "tests/fault/cluster_talk.hpp"
#include "tests/fault/fault_cells.hpp"
#include "tests/fault/holdings.hpp"
#include "tests/support/run_fixture.hpp"

#include "runtime/api/compare_results.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// A run takes less than a second, and a fault that only a deadline sees some seconds more.
constexpr auto patience = 60s;
/// More failures say nothing new.
constexpr int failures_max = 8;

/// KV of 16 tokens over all workers of a replica.
constexpr int block_bytes = 65536;

bool is_long() {
  return std::getenv("VDIST_TEST_LONG") != nullptr;
}

std::size_t number_in(const char* variable, std::size_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::stoul(text);
}

/// The prompts whose chunks the phases are about come first, one for each replica.
std::string input_lines(fault_sampling sampling) {
  constexpr std::string_view long_prompt =
      "Once upon a time there was a little old woman who lived in a small house near the wood. She "
      "had a cat and "
      "a dog and a red hen, and every morning she went out to look for eggs. One day the hen said "
      "to her,";
  const std::array<std::string_view, 7> prompts{long_prompt,
                                                long_prompt.substr(5),
                                                "The little rabbit",
                                                "There was once a king",
                                                "A fox met a crow",
                                                "The dog said to the cat",
                                                "One morning"};
  std::string lines;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    nlohmann::json line{{"id", fmt::format("r{}", i)},
                        {"prompt", prompts.at(i)},
                        {"max_tokens", 36 + i},
                        {"ignore_eos", true}};
    const bool is_greedy =
        sampling == fault_sampling::greedy || (sampling == fault_sampling::logprobs && i % 2 == 0);
    line["temperature"] = is_greedy ? 0.0 : 0.9;
    line["seed"] = 100 + i;
    if (!is_greedy && i == 3) {
      line["repetition_penalty"] = 1.15;
    }
    if (!is_greedy && i == 5) {
      line["n"] = 2;
    }
    if (sampling == fault_sampling::logprobs) {
      line["logprobs"] = 3;
    }
    lines += line.dump() + "\n";
  }
  return lines;
}

/// One prompt has two sequences when tokens are drawn.
std::size_t results_of(fault_sampling sampling) {
  return sampling == fault_sampling::greedy ? 7 : 8;
}

struct matrix_fixture : run_fixture {
  matrix_fixture() {
    config =
        write_config(demo_model,
                     "[cluster]\nisolation = \"process\"\n"
                     "[fault_tolerance]\nstep_deadline_ms = 2000\ncollective_deadline_ms = 1000\n");
  }

  std::string input_of(fault_sampling sampling) {
    return folder
        .write(fmt::format("in{}.jsonl", static_cast<int>(sampling)), input_lines(sampling))
        .string();
  }

  /// What one worker writes when nothing happens. The split changes no bit, so neither may faults in any split.
  const std::string& undisturbed(fault_sampling sampling) {
    auto& file = undisturbed_[sampling];
    if (file.empty()) {
      file = (folder.path() / fmt::format("undisturbed{}", static_cast<int>(sampling))).string();
      const auto done = run({"--input", input_of(sampling), "--output", file, "--quiet"});
      BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    }
    return file;
  }

  std::vector<std::string>
  arguments_of(const fault_cell& cell, const fault_plan& plan, const std::string& output) {
    const auto& split = *cell.split;
    const bool is_whole = cell.phase == fault_phase::prefill;
    std::vector<std::string> arguments{"--input",
                                       input_of(cell.sampling),
                                       "--output",
                                       output,
                                       "--quiet",
                                       "--faults",
                                       folder.write("cell.toml", plan.text()).string()};
    const auto set = [&arguments](std::string assignment) {
      arguments.insert(arguments.end(), {"--set", std::move(assignment)});
    };
    set(fmt::format("parallel.tensor={}", split.tensor));
    set(fmt::format("parallel.pipeline={}", split.pipeline));
    set(fmt::format("parallel.data={}", split.data));
    set(fmt::format("scheduler.prefill_chunk={}", is_whole ? 0 : 16));
    if (cell.what->setting == few_blocks) {
      set("model.max_model_len=192");
      set(fmt::format("device.kv_cache_bytes={}",
                      13 * block_bytes / (split.tensor * split.pipeline)));
    } else if (!cell.what->setting.empty()) {
      set(std::string(cell.what->setting));
    }
    return arguments;
  }

  /// Sends the signal once rule `held` has struck.
  static void strike(const process& program, const fault_class& what, const fault_plan& plan) {
    const cluster_talk cluster(program.pid());
    const bool is_held = wait_while_running(program, patience, [&cluster, &plan] {
      const auto page = cluster.faults();
      return page && page->rules.size() > *plan.held && page->rules[*plan.held].hits > 0;
    });
    const auto children = children_of(program.pid());
    const auto victim = children.find(plan.victim);
    if (is_held && victim != children.end()) {
      ::kill(victim->second, what.signal);
    }
  }

  /// What is wrong with the cell; empty: nothing.
  std::string failure_of(const fault_cell& cell) {
    const auto plan = plan_of(cell, results_of(cell.sampling));
    const auto output = (folder.path() / "disturbed").string();
    std::filesystem::remove(output);
    auto program = start(arguments_of(cell, *plan, output));
    if (plan->held) {
      strike(program, *cell.what, *plan);
    }
    const auto done = wait_for_end(program, patience);
    if (!done) {
      return "it did not end\n" + program.err();
    }
    if (done->exit_code != 0) {
      return fmt::format("exit code {}\n{}", done->exit_code, done->err);
    }
    const auto found = api::compare_results(undisturbed(cell.sampling), output);
    if (!found) {
      return found.error().context;
    }
    std::string differences;
    for (const auto& example : found->examples) {
      differences += example + "\n";
    }
    const auto culprits =
        cell.what->place == fault_place::poison ? 1U : 0U; // fail, and nobody else
    const bool is_as_it_should = found->altered == culprits && found->lost + found->doubled == 0;
    return is_as_it_should ? "" : differences + done->err;
  }

  /// A run that is disturbed from outside only.
  process start_plain(const std::string& output) {
    return start({"--input",
                  input_of(fault_sampling::logprobs),
                  "--output",
                  output,
                  "--quiet",
                  "--set",
                  "parallel.tensor=2"});
  }

  /// The same, with rules and one setting.
  process
  start_with(const fault_plan& plan, const std::string& output, const std::string& setting) {
    return start({"--input",
                  input_of(fault_sampling::logprobs),
                  "--output",
                  output,
                  "--quiet",
                  "--faults",
                  folder.write("rules.toml", plan.text()).string(),
                  "--set",
                  "parallel.tensor=2",
                  "--set",
                  "log.level=warn",
                  "--set",
                  setting});
  }

  /// Waits for its end and compares. Returns what it wrote to stderr.
  std::string check_undisturbed(process& program, const std::string& output) {
    const auto done = wait_for_end(program, patience);
    BOOST_REQUIRE_MESSAGE(done.has_value(), "it did not end\n" << program.err());
    BOOST_TEST(done->exit_code == 0, done->err);
    const auto found = api::compare_results(undisturbed(fault_sampling::logprobs), output);
    BOOST_REQUIRE(found.has_value());
    BOOST_TEST(found->is_equal(), done->err);
    return done->err;
  }

  std::map<fault_sampling, std::string> undisturbed_;
};

bool is_wanted(const fault_cell& cell) {
  const char* text = std::getenv("VDIST_TEST_CELL");
  return text == nullptr ? is_long() || !cell.what->is_long
                         : name_of(cell).find(text) != std::string::npos;
}

/// "i/n", i from 0: every n-th one.
std::vector<fault_cell> shard_of(const std::vector<fault_cell>& cells) {
  const char* text = std::getenv("VDIST_TEST_SHARD");
  if (text == nullptr) {
    return cells;
  }
  char* behind = nullptr;
  const auto first = std::strtoul(text, &behind, 10);
  const auto shards = *behind == '/' ? std::strtoul(behind + 1, nullptr, 10) : 0;
  BOOST_REQUIRE_MESSAGE(first < shards, "VDIST_TEST_SHARD must be i/n: " << text);
  std::vector<fault_cell> mine;
  for (auto i = first; i < cells.size(); i += shards) {
    mine.push_back(cells[i]);
  }
  return mine;
}

std::vector<fault_cell> chosen_cells() {
  std::vector<fault_cell> cells;
  for (const auto& cell : all_cells()) {
    if (is_wanted(cell) && cell.what->skipped.empty()) {
      cells.push_back(cell);
    }
  }
  const bool has_all = is_long() || std::getenv("VDIST_TEST_CELL") != nullptr;
  return shard_of(has_all ? cells : pairwise(cells));
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(fault_matrix, matrix_fixture)

BOOST_AUTO_TEST_CASE(no_fault_in_any_phase_changes_a_stream) {
  for (const auto& what : fault_classes()) {
    if (!what.skipped.empty()) {
      fmt::print("skipped: {}: {}\n", what.name, what.skipped);
    }
  }
  const auto cells = chosen_cells();
  int failures = 0;
  for (std::size_t round = 0; round < number_in("VDIST_TEST_ROUNDS", 1); ++round) {
    for (const auto& cell : cells) {
      const auto begun = std::chrono::steady_clock::now();
      const auto failure = failure_of(cell);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
      fmt::print(
          "{:6.2f} s  {}{}\n", took.count(), name_of(cell), failure.empty() ? "" : "  FAILED");
      std::fflush(stdout);
      BOOST_TEST(failure.empty(),
                 "VDIST_TEST_CELL='" << name_of(cell) << "'\n"
                                     << plan_of(cell, results_of(cell.sampling))->text()
                                     << failure);
      failures += failure.empty() ? 0 : 1;
      BOOST_REQUIRE_MESSAGE(failures < failures_max, "too many failures: the rest is not run");
    }
  }
  fmt::print("{} cells\n", cells.size());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(other_times, matrix_fixture)

BOOST_AUTO_TEST_CASE(whoever_is_killed_while_all_start_is_started_again) {
  for (const std::string victim : {"vault", "node", "worker 0", "worker 1"}) {
    BOOST_TEST_CONTEXT(victim) {
      const auto output = (folder.path() / ("start_" + victim)).string();
      auto program = start_plain(output);
      pid_t pid = 0;
      wait_while_running(program, patience, [&program, &victim, &pid] {
        const auto children = children_of(program.pid());
        const auto found = children.find(victim);
        pid = found == children.end() ? 0 : found->second;
        return pid != 0;
      });
      BOOST_REQUIRE(pid != 0);
      ::kill(pid, SIGKILL);
      check_undisturbed(program, output);
    }
  }
}

/// A vault whose memory is lost takes all others with it; they load again while the rule is armed.
BOOST_AUTO_TEST_CASE(whoever_hangs_while_all_load_is_started_again) {
  const auto output = (folder.path() / "stuck_at_start").string();
  const fault_plan plan{.rules = {"executor.before_send replica=0 step=20 wait(3)",
                                  "vault.take_over 3*kill9",
                                  "worker.load rank=1 hang"},
                        .held = 0,
                        .victim = "vault"};
  auto program = start_with(plan, output, "fault_tolerance.load_stall_ms=1000");
  strike(program, {.signal = SIGKILL}, plan);
  check_undisturbed(program, output);
}

BOOST_AUTO_TEST_CASE(whoever_cannot_give_write_or_ask_is_replaced_or_asked_again) {
  const std::string kill =
      "worker.step_begin rank=1 step=20 kill9"; // a successor needs all of them
  for (const std::vector<std::string>& rules : {std::vector<std::string>{kill, "vault.map hang"},
                                                {kill, "vault.map oom"},
                                                {kill, "host.spawn oom"},
                                                {kill, "gateway.event hang"},
                                                {"ledger.accept nth=3 kill9"},
                                                {"ledger.commit nth=9 kill9"}}) {
    BOOST_TEST_CONTEXT(rules.back()) {
      const auto output = (folder.path() / rules.back().substr(0, 12)).string();
      std::filesystem::remove(output);
      auto program = start_with({.rules = rules, .held = {}, .victim = {}},
                                output,
                                "fault_tolerance.control_stall_ms=500");
      check_undisturbed(program, output);
    }
  }
}

/// L-17 of worker_process.hpp: `prepare` and `begin` of a survivor, `load` and `begin` of a successor, and what they answer. On a
/// machine that is slow it may be a frame before, that only reminds.
BOOST_AUTO_TEST_CASE(whatever_is_lost_between_control_process_and_worker_is_asked_again) {
  for (const std::string frame : {"channel.commands replica=0 rank=0 nth=1",
                                  "channel.commands replica=0 rank=0 nth=2",
                                  "channel.commands replica=0 rank=1 nth=1",
                                  "channel.commands replica=0 rank=1 nth=2",
                                  "channel.events replica=0 rank=0 nth=1",
                                  "channel.events replica=0 rank=1 nth=1",
                                  "channel.events replica=0 rank=1 nth=2"}) {
    for (const char* action : {"drop", "reorder", "corrupt"}) {
      const auto lost = fmt::format("{} {}", frame, action);
      BOOST_TEST_CONTEXT(lost) {
        const auto output = (folder.path() / "lost").string();
        std::filesystem::remove(output);
        auto program = start_with(
            {.rules = {"worker.step_begin rank=1 step=20 kill9", lost}, .held = {}, .victim = {}},
            output,
            "fault_tolerance.detect_ms=150");
        check_undisturbed(program, output);
      }
    }
  }
}

/// C-3 of cluster.hpp, H-6: the control process says that it cannot help itself, and its successor goes on.
BOOST_AUTO_TEST_CASE(an_actor_that_dies_too_often_costs_the_control_process_and_no_stream) {
  const auto output = (folder.path() / "escalated").string();
  auto program =
      start_with({.rules = {"router.tokens nth=3 4*kill_actor"}, .held = {}, .victim = {}},
                 output,
                 "fault_tolerance.max_restarts=2");
  const auto said = check_undisturbed(program, output);
  BOOST_TEST(said.find("vdist-node: exit code 70") != std::string::npos, said);
}

/// As a suspended machine, or a clock that jumps, looks to all of them: nobody is to blame.
BOOST_AUTO_TEST_CASE(a_cluster_that_stands_still_as_a_whole_goes_on) {
  const auto output = (folder.path() / "suspended").string();
  auto program = start_plain(output);
  const cluster_talk cluster(program.pid());
  BOOST_REQUIRE_MESSAGE(wait_while_running(program,
                                           patience,
                                           [&cluster] {
                                             const auto now = cluster.status();
                                             return now && now->replicas.at(0).steps > 5;
                                           }),
                        program.err());
  const auto children = children_of(program.pid());
  program.signal(SIGSTOP); // first, or it would see the others stop
  for (const int signal : {SIGSTOP, SIGCONT}) {
    for (const auto& [name, pid] : children) {
      ::kill(pid, signal);
    }
    if (signal == SIGSTOP) {
      std::this_thread::sleep_for(700ms); // more than detect_ms: the time is what is tested
    }
  }
  program.signal(SIGCONT);
  const auto said = check_undisturbed(program, output);
  BOOST_TEST(said.find("killed") == std::string::npos, said);
}

BOOST_AUTO_TEST_CASE(a_disk_that_is_full_when_a_worker_dies_loses_nothing) {
  const auto output = (folder.path() / "full").string();
  const auto script = folder.write("full.toml",
                                   "[[fault]]\nrule = \"worker.step_begin rank=1 step=20 kill9\"\n"
                                   "[[fault]]\nrule = \"batch.write nth=3 full\"\n");
  const auto stopped = run({"--input",
                            input_of(fault_sampling::logprobs),
                            "--output",
                            output,
                            "--faults",
                            script.string(),
                            "--set",
                            "parallel.tensor=2"});
  BOOST_TEST(stopped.exit_code == 3, stopped.err);
  auto program = start_plain(output);
  check_undisturbed(program, output);
}

BOOST_AUTO_TEST_SUITE_END()
