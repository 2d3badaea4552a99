// The control process dies and a successor goes on with the living workers; the vault dies and all others go on. Real
// processes, real SIGKILLs; where it matters, a failpoint strikes at an exact place instead of a clock.
#include "tests/fault/holdings.hpp"
#include "tests/support/run_fixture.hpp"

#include <chrono>
#include <optional>

using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t processes = 4; // vault, control process, two workers
constexpr auto stall_max = 1500ms;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int slower = 8;
#else
constexpr int slower = 1;
#endif

/// id/index → tokens, and how many lines there were.
struct streams {
  std::map<std::string, std::vector<std::int32_t>> tokens;
  std::size_t lines = 0;

  bool operator==(const streams&) const = default;
};

std::ostream& operator<<(std::ostream& out, const streams& all) {
  return out << all.lines << " lines, " << all.tokens.size() << " streams";
}

struct takeover_fixture : run_fixture {
  takeover_fixture() { config = with_restarts("max_restarts = 5"); }

  std::string with_restarts(const std::string& limits) {
    return write_config(demo_model,
                        "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n"
                        "[fault_tolerance]\nrestart_backoff_ms = 0\n"
                            + limits + "\n");
  }

  /// Eight requests that use every way of choosing tokens, all of the same length: they end in the same step.
  std::string input_of(int tokens) {
    std::string lines;
    for (int i = 0; i < 8; ++i) {
      lines += "{\"id\": \"r" + std::to_string(i)
               + "\", \"prompt\": \"One morning the king\", \"seed\": " + std::to_string(i)
               + ", \"ignore_eos\": true, \"max_tokens\": " + std::to_string(tokens)
               + (i % 3 == 0   ? ", \"temperature\": 0"
                  : i % 3 == 1 ? ", \"repetition_penalty\": 1.2, \"n\": 2"
                               : ", \"logprobs\": 2")
               + "}\n";
    }
    return folder.write("in" + std::to_string(++inputs) + ".jsonl", lines).string();
  }

  process start_batch(const std::string& input, std::vector<std::string> more = {}) {
    std::filesystem::remove(output);
    more.insert(more.begin(), {"--input", input, "--output", output});
    return start(more);
  }

  static std::vector<std::string> story() {
    return {"--prompt", "Once upon a time", "--seed", "1", "--max-tokens", "240"};
  }

  [[nodiscard]] std::size_t lines_written() const {
    const auto text = read(output);
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  [[nodiscard]] streams written() const {
    streams all;
    for (const auto& line : parse_lines(read(output))) {
      ++all.lines;
      const auto index = line.contains("index") ? line.at("index").get<int>() : 0;
      BOOST_REQUIRE_MESSAGE(line.contains("token_ids"), line.dump());
      all.tokens[line.at("id").get<std::string>() + "/" + std::to_string(index)] =
          line.at("token_ids").get<std::vector<std::int32_t>>();
    }
    return all;
  }

  streams undisturbed(const std::string& input) {
    const auto done = start_batch(input).wait();
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    return written();
  }

  /// Kills the control process and waits for the next one.
  static process_tree kill_node(const process& run, const process_tree& before) {
    auto now = before;
    ::kill(before.at("node"), SIGKILL);
    now["node"] = wait_for_successor(run, "node", before.at("node"));
    return now;
  }

  /// The workers and the vault are the processes that they were.
  static void check_survivors(const process& run, const process_tree& before) {
    const auto now = children_of(run.pid());
    for (const auto& [name, pid] : before) {
      if (name != "node") {
        BOOST_TEST((now.contains(name) && now.at(name) == pid), name << " was replaced");
      }
    }
  }

  /// Of the worker of that rank, now; 0: there is none.
  static int incarnation_of(pid_t parent, int rank) {
    const auto children = children_of(parent);
    const auto found = children.find("worker " + std::to_string(rank));
    const auto text =
        found == children.end() ? std::string() : option_of(found->second, "--incarnation");
    return text.empty() ? 0 : std::stoi(text);
  }

  std::string rule(const std::string& text) {
    return folder.write("script" + std::to_string(++inputs) + ".toml", text).string();
  }

  std::string output = (work / "out.jsonl").string();
  int inputs = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(takeover, takeover_fixture)

/// The process ends itself just before it sends the plan of that step: the first one prefills, later ones decode.
BOOST_AUTO_TEST_CASE(a_batch_goes_on_when_its_control_process_dies_in_prefill_or_decode) {
  const auto input = input_of(80);
  const auto expected = undisturbed(input);
  BOOST_TEST(expected.lines == 11U);
  for (const int step : {1, 2, 40, 79}) {
    const auto script = rule("[[fault]]\nat = { point = \"executor.before_send\", step = "
                             + std::to_string(step) + " }\naction = \"kill9\"\n");
    auto run = start_batch(input, {"--faults", script});
    const auto before = wait_for_children(run, processes);
    if (wait_for_successor(run, "node", before.at("node")) != 0) {
      check_survivors(run, before);
    }
    const auto done = run.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(written() == expected, "step " << step);
    check_nothing_stays(before);
  }
}

/// All sequences have ended, their lines are being written: nobody computes.
BOOST_AUTO_TEST_CASE(a_batch_goes_on_when_its_control_process_dies_while_the_workers_are_idle) {
  const auto input = input_of(20);
  const auto expected = undisturbed(input);
  for (const int nth : {1, 4, 11}) {
    const auto script = rule("[[fault]]\nat = { point = \"batch.write\", nth = "
                             + std::to_string(nth) + " }\naction = \"kill9\"\n");
    auto run = start_batch(input, {"--faults", script});
    const auto before = wait_for_children(run, processes);
    const auto done = run.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(written() == expected, "line " << nth);
    check_nothing_stays(before);
  }
}

BOOST_AUTO_TEST_CASE(a_story_streams_once_and_pauses_shortly_when_its_control_process_dies) { // H-8
  const auto expected = run(story());
  BOOST_REQUIRE_MESSAGE(expected.exit_code == 0, expected.err);
  for (const std::size_t told : {20U, 150U, 400U}) {
    auto run = start(story());
    const auto before = wait_for_children(run, processes);
    wait_until("it tells", [&run, told] { return run.out().size() >= told; });
    const auto at_kill = run.out().size();
    const auto killed = std::chrono::steady_clock::now();
    const auto now = kill_node(run, before);
    wait_until("it goes on",
               [&run, at_kill] { return run.out().size() > at_kill || !is_alive(run.pid()); });
    const auto stall = std::chrono::steady_clock::now() - killed;
    if (is_alive(run.pid())) {
      check_survivors(run, now);
    }
    const auto done = run.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.out == expected.out);
    const auto stall_ms = std::chrono::duration<double, std::milli>(stall).count();
    BOOST_TEST((stall < stall_max * slower), "stall " << stall_ms << " ms");
    BOOST_TEST_MESSAGE("stall_ms=" << stall_ms);
    check_nothing_stays(now);
  }
}

/// Right after the workers were started: they load, or have not been told to.
BOOST_AUTO_TEST_CASE(a_control_process_that_dies_while_the_workers_load_is_replaced) {
  const auto expected = run(story());
  for (int round = 0; round < 5; ++round) {
    auto run = start(story());
    const auto before = wait_for_children(run, processes);
    const auto now = kill_node(run, before);
    const auto done = run.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.out == expected.out);
    check_nothing_stays(now);
  }
}

/// A worker has died, its successor loads, and the control process that ordered it dies, too.
BOOST_AUTO_TEST_CASE(a_control_process_that_dies_during_the_recovery_of_a_worker_is_replaced) {
  const auto input = input_of(80);
  const auto expected = undisturbed(input);
  const auto script =
      rule("[[fault]]\nat = { point = \"worker.step_begin\", rank = 1, step = 30 }\n"
           "action = \"kill9\"\n"
           "[[fault]]\nat = { point = \"worker.load\", rank = 1 }\n"
           "action = \"delay(300)\"\n");
  auto run = start_batch(input, {"--faults", script});
  const auto before = wait_for_children(run, processes);
  const auto successor = wait_for_successor(run, "worker 1", before.at("worker 1"));
  BOOST_REQUIRE(successor != 0);
  auto now = kill_node(run, before);
  now["worker 1"] = successor;
  if (now.at("node") != 0) {
    check_survivors(run, now);
  }
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(written() == expected);
  check_nothing_stays(now);
}

/// The configuration was edited meanwhile: the successor would give its workers another order, so it does not take these.
BOOST_AUTO_TEST_CASE(workers_that_were_started_for_another_order_are_replaced) {
  const auto expected = run(story());
  auto run = start(story());
  const auto before = wait_for_children(run, processes);
  wait_until("it tells", [&run] { return run.out().size() >= 150; });
  std::ofstream(config, std::ios::app) << "detect_ms = 400\n";
  const auto now = kill_node(run, before);
  for (const char* worker : {"worker 0", "worker 1"}) {
    BOOST_TEST(wait_for_successor(run, worker, before.at(worker)) != 0);
  }
  BOOST_TEST(children_of(run.pid()).at("vault") == before.at("vault"));
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.out == expected.out);
  check_nothing_stays(now);
}

BOOST_AUTO_TEST_CASE(twenty_deaths_in_a_row_change_nothing_and_cost_no_worker) {
  config = with_restarts("max_restarts = 100");
  const auto input = input_of(160);
  const auto expected = undisturbed(input);
  std::string rules;
  for (int death = 1; death <= 20; ++death) {
    rules += "[[fault]]\nat = { point = \"executor.before_send\", step = "
             + std::to_string(7 * death) + " }\naction = \"kill9\"\n";
  }
  auto run = start_batch(input, {"--faults", rule(rules)});
  const auto before = wait_for_children(run, processes);
  auto now = before;
  int deaths = 0;
  while (const auto next = wait_for_successor(run, "node", now.at("node"))) {
    now["node"] = next;
    check_survivors(run, now);
    ++deaths;
    if (deaths == 20) {
      break;
    }
  }
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(deaths == 20);
  BOOST_TEST(written() == expected);
  check_nothing_stays(now);
}

/// Worker 0 dies in its first step, again and again: worker 1 goes through as many epochs.
BOOST_AUTO_TEST_CASE(a_worker_that_survives_two_hundred_epochs_holds_no_more_than_at_first) { // E-2
  config = with_restarts("max_restarts = 1000\npoison_strikes = 0"); // the worker is to blame
  const auto input = input_of(20);
  const auto expected = undisturbed(input);
  auto run = start_batch(input,
                         {"--faults",
                          rule("[[fault]]\nat = { point = \"worker.step_begin\", rank = 0 }\n"
                               "action = \"kill9\"\ncount = 200\n")});
  const auto before = wait_for_children(run, processes);
  const auto survivor = before.at("worker 1");
  const auto reached = [&run](int incarnation) {
    return [&run, incarnation] {
      return !is_alive(run.pid()) || incarnation_of(run.pid(), 0) >= incarnation;
    };
  };
  wait_until("20 epochs", reached(20));
  const holdings early = holdings_of(survivor);
  wait_until("190 epochs", reached(190));
  const holdings late = holdings_of(survivor);
  BOOST_TEST(late.shared_maps > 0U);
  BOOST_TEST(late.shared_maps <= early.shared_maps + 3,
             early.shared_maps << " then " << late.shared_maps);
  BOOST_TEST(late.descriptors <= early.descriptors,
             early.descriptors << " then " << late.descriptors);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(written() == expected);
  check_nothing_stays(before);
}

BOOST_AUTO_TEST_CASE(a_batch_goes_on_when_the_vault_dies) { // H-15
  const auto input = input_of(120);
  const auto expected = undisturbed(input);
  auto run = start_batch(input);
  const auto before = wait_for_children(run, processes);
  auto now = before;
  for (int death = 0; death < 3; ++death) {
    ::kill(now.at("vault"), SIGKILL);
    now["vault"] = wait_for_successor(run, "vault", now.at("vault"));
  }
  BOOST_TEST((children_of(run.pid()) == now), "nobody else was replaced");
  ::kill(now.at("worker 1"), SIGKILL); // its successor finds all in the third vault that followed
  (void)wait_for_successor(run, "worker 1", now.at("worker 1"));
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(written() == expected);
  check_nothing_stays(before);
}

BOOST_AUTO_TEST_SUITE_END()
