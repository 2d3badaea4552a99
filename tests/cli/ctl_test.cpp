// vdist-ctl beside a running vdist-run: it sees the cluster, kills parts of it and drains it, and no result changes.
#include "tests/support/run_fixture.hpp"

#include <functional>
#include <map>
#include <thread>

using namespace vdist::testing;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;
constexpr int requests = 24;
constexpr int tokens = 100;

/// Until it is so, or the test fails.
void wait_until(const std::string& what, const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!is_so()) {
    BOOST_REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "never: " << what);
    std::this_thread::yield();
  }
}

bool has_control_socket(const std::string& cluster) {
  std::ifstream file("/proc/net/unix");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return text.find("@vdist/" + cluster + "/") != std::string::npos;
}

/// Two replicas of two stages on the sim device, whose steps take as long as they are told: a batch that lasts.
struct ctl_fixture : run_fixture {
  ctl_fixture() {
    config =
        folder
            .write("sim.toml",
                   "[cluster]\nname = \"" + cluster
                       + "\"\n[parallel]\ndata = 2\npipeline = 2\n"
                         "[device]\nkind = \"sim\"\nkv_cache_bytes = 16777216\n"
                         "[device.sim]\nvocabulary = 1000\nlayers = 8\nheads = 8\nkv_heads = 8\n"
                         "hidden = 64\nmax_model_len = 256\nstep_us = 2000\n"
                         "[scheduler]\nmax_sequences = 2\n")
            .string();
    std::string lines;
    for (int i = 0; i < requests; ++i) {
      lines += json{{"id", std::to_string(i)},
                    {"token_ids", {1, 2, i + 3}},
                    {"max_tokens", tokens},
                    {"ignore_eos", true},
                    {"seed", i}}
                   .dump()
               + "\n";
    }
    input = folder.write("in.jsonl", lines).string();
  }

  process start_batch(const std::filesystem::path& output) {
    return start({"--input", input, "--output", output.string()});
  }

  process start_ctl(const std::vector<std::string>& arguments) {
    const auto place = folder.path() / ("ctl" + std::to_string(++controls));
    std::filesystem::create_directory(place);
    std::vector<std::string> command{VDIST_CTL};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return process(command, place, work.string());
  }

  process_result ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--cluster", cluster});
    return start_ctl(arguments).wait();
  }

  json status() {
    const auto done = ctl({"status", "--json"});
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    return json::parse(done.out).at("status");
  }

  /// Waits until requests of the batch are under way.
  void wait_for_cluster() {
    wait_until("the cluster answers",
               [this] { return has_control_socket(cluster) && ctl({"status"}).exit_code == 0; });
    wait_until("tokens are computed", [this] { return status()["replicas"][0]["tokens"] > 20; });
  }

  /// id → token ids.
  static std::map<std::string, json> results_of(const std::filesystem::path& output) {
    std::map<std::string, json> all;
    for (const auto& line : parse_lines(read(output))) {
      BOOST_TEST(all.emplace(line.at("id"), line.at("token_ids")).second, "once: " << line);
    }
    return all;
  }

  [[nodiscard]] static bool has_processes() { return isolation_under_test() == "process"; }

  std::string cluster = "ctl_test_" + std::to_string(::getpid());
  std::string input;
  std::filesystem::path output = work / "out.jsonl";
  int controls = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(control_of_a_cluster, ctl_fixture)

BOOST_AUTO_TEST_CASE(says_what_runs_while_it_runs) {
  auto batch = start_batch(output);
  wait_for_cluster();
  const auto now = status();
  BOOST_TEST(now.at("name") == cluster);
  BOOST_TEST(now.at("isolation") == (has_processes() ? "process" : "thread"));
  BOOST_TEST(now.at("active") > 0);
  BOOST_TEST(now.at("replicas").size() == 2U);
  std::vector<int> ranks;
  for (const auto& replica : now.at("replicas")) {
    BOOST_TEST(replica.at("state") == "running");
    BOOST_TEST(replica.at("kv_total") > 0);
    for (const auto& worker : replica.at("workers")) {
      ranks.push_back(worker.at("rank"));
      BOOST_TEST(worker.at("state") == "running");
      BOOST_TEST(worker.at("incarnation") == 1);
      BOOST_TEST((worker.at("pid") > 0) == has_processes());
    }
  }
  BOOST_TEST((ranks == std::vector{0, 1, 2, 3}));
  BOOST_TEST(now.at("processes").size() == (has_processes() ? 3U : 1U));
  BOOST_TEST(now.at("processes")[0].at("pid") == batch.pid());
  const auto picture = ctl({"topology"});
  BOOST_TEST(picture.exit_code == 0, picture.err);
  BOOST_TEST(picture.out.find("data 2 x pipeline 2 x tensor 1 = 4 workers") != std::string::npos,
             picture.out);
  BOOST_TEST(picture.out.find('\x1b') == std::string::npos, "no colours in a file");
  const auto ledger = ctl({"ledger", "--json", "--pid", std::to_string(batch.pid())});
  BOOST_REQUIRE_MESSAGE(ledger.exit_code == 0, ledger.err);
  const auto page = json::parse(ledger.out).at("ledger");
  BOOST_TEST(page.at("unfinished") > 0);
  BOOST_REQUIRE(!page.at("lines").empty());
  BOOST_TEST(page.at("lines")[0].at("max_tokens") == tokens);
  BOOST_TEST(page.at("lines")[0].at("prompt_tokens") == 3);
  BOOST_TEST(page.at("lines")[0].at("age_s") < 100);
}

BOOST_AUTO_TEST_CASE(a_killed_worker_comes_back_and_no_result_changes) {
  const auto reference = work / "reference.jsonl";
  BOOST_REQUIRE(start_batch(reference).wait().exit_code == 0);
  auto batch = start_batch(output);
  wait_for_cluster();
  const auto killed = ctl({"kill", "worker", "1"});
  BOOST_TEST(killed.exit_code == 0, killed.err);
  BOOST_TEST(killed.out.starts_with("killed: worker 1 ("), killed.out);
  wait_until("a successor runs", [this] {
    const auto replica = status()["replicas"][0];
    const auto& worker = replica["workers"][1];
    return worker["incarnation"] == 2 && worker["state"] == "running" && replica["restarts"] == 1;
  });
  const auto unknown = ctl({"kill", "worker", "4"});
  BOOST_TEST(unknown.exit_code == 2);
  BOOST_TEST(unknown.err.find("worker 0 to worker 3") != std::string::npos, unknown.err);
  const auto done = batch.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST((results_of(output) == results_of(reference)));
  BOOST_TEST(!has_control_socket(cluster));
}

BOOST_AUTO_TEST_CASE(a_fault_that_is_armed_at_run_time_strikes_and_no_result_changes) {
  const auto reference = work / "reference.jsonl";
  BOOST_REQUIRE(start_batch(reference).wait().exit_code == 0);
  auto batch = start_batch(output);
  wait_for_cluster();
  const std::string action = has_processes() ? "kill9" : "kill_actor";
  const auto armed = ctl({"faults", "arm", "worker.step_begin", "replica=1", "rank=0", action});
  BOOST_TEST(armed.exit_code == 0, armed.err);
  BOOST_TEST(armed.out.find("worker.step_begin replica=1 rank=0 " + action) != std::string::npos,
             armed.out);
  wait_until("it has struck", [this] {
    const auto listed = ctl({"faults", "list", "--json"});
    return json::parse(listed.out).at("faults").at("rules").at(0).at("hits") == 1;
  });
  const auto cleared = ctl({"faults", "clear"});
  BOOST_TEST(cleared.out == "no fault is armed\n");
  const auto typo = ctl({"faults", "arm", "worker.step_bgin", "throw"});
  BOOST_TEST(typo.exit_code == 2);
  BOOST_TEST(typo.err.find("did you mean worker.step_begin?") != std::string::npos, typo.err);
  const auto refused = ctl({"faults", "arm", "worker.step_end", "kill9"});
  BOOST_TEST(refused.exit_code == (has_processes() ? 0 : 2), refused.err);
  BOOST_TEST(batch.wait().exit_code == 0);
  BOOST_TEST((results_of(output) == results_of(reference)));
}

BOOST_AUTO_TEST_CASE(a_drained_batch_ends_early_and_goes_on_later) { // B-4, Q-4
  const auto reference = work / "reference.jsonl";
  BOOST_REQUIRE(start_batch(reference).wait().exit_code == 0);
  auto batch = start_batch(output);
  wait_for_cluster();
  const auto drained = ctl({"drain"});
  BOOST_TEST(drained.exit_code == 0, drained.err);
  BOOST_TEST(drained.out.find("requests are still to end") != std::string::npos, drained.out);
  const auto done = batch.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("run again to go on") != std::string::npos, done.err);
  const auto first = results_of(output);
  BOOST_TEST(first.size() > 0U);
  BOOST_TEST(first.size() < static_cast<std::size_t>(requests));
  const auto written = read(output);
  const auto rest = start_batch(output).wait();
  BOOST_TEST(rest.exit_code == 0, rest.err);
  BOOST_TEST(read(output).starts_with(written), "what was there stays");
  BOOST_TEST((results_of(output) == results_of(reference)));
}

BOOST_AUTO_TEST_CASE(replicas_are_drained_and_parts_replaced_and_no_result_changes) {
  const auto reference = work / "reference.jsonl";
  BOOST_REQUIRE(start_batch(reference).wait().exit_code == 0);
  auto batch = start_batch(output);
  wait_for_cluster();
  const auto drained = ctl({"drain", "replica", "1"});
  BOOST_TEST(drained.exit_code == 0, drained.err);
  BOOST_TEST(status()["replicas"][1]["is_draining"] == true);
  const auto last = ctl({"drain", "replica", "0"});
  BOOST_TEST(last.exit_code == 2);
  BOOST_TEST(last.err.find("the last one that takes requests") != std::string::npos, last.err);
  BOOST_TEST(ctl({"resume", "replica", "1"}).exit_code == 0);
  BOOST_TEST(status()["replicas"][1]["is_draining"] == false);
  const auto worker = ctl({"restart", "worker", "1"});
  BOOST_TEST(worker.exit_code == 0, worker.err);
  BOOST_TEST(worker.out.find("1/1  worker 1") != std::string::npos, worker.out);
  BOOST_TEST(ctl({"restart", "replica", "1"}).exit_code == 0);
  const auto now = status();
  for (const auto& replica : now["replicas"]) {
    BOOST_TEST(replica["state"] == "running");
    BOOST_TEST(replica["restarts"] == 0);
  }
  BOOST_TEST(now["replicas"][0]["workers"][0]["incarnation"] == 1);
  BOOST_TEST(now["replicas"][0]["workers"][1]["incarnation"] == 2);
  BOOST_TEST(now["replicas"][1]["workers"][0]["incarnation"] == 2);
  const auto node = ctl({"restart", "node"});
  BOOST_TEST(node.exit_code == (has_processes() ? 0 : 2), node.err);
  if (!has_processes()) {
    BOOST_TEST(node.err.find("its workers are threads of it") != std::string::npos, node.err);
  }
  const auto vault = ctl({"restart", "vault"});
  BOOST_TEST(vault.exit_code == 2);
  BOOST_TEST(vault.err.find("kill vault replaces it") != std::string::npos, vault.err);
  const auto done = batch.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST((results_of(output) == results_of(reference)));
}

BOOST_AUTO_TEST_CASE(kills_control_process_and_vault_where_there_are_some) {
  const auto reference = work / "reference.jsonl";
  BOOST_REQUIRE(start_batch(reference).wait().exit_code == 0);
  for (const std::string victim : {"node", "vault"}) {
    std::filesystem::remove(output);
    auto batch = start_batch(output);
    wait_for_cluster();
    const auto killed = ctl({"kill", victim});
    if (has_processes()) {
      BOOST_TEST(killed.exit_code == 0, killed.err);
      if (victim == "node") { // asked while the successor starts
        const auto seen = ctl({"status", "--pid", std::to_string(batch.pid())});
        BOOST_TEST(seen.exit_code == 0, seen.err);
      }
      const auto done = batch.wait(); // it is replaced, and the batch goes on
      BOOST_TEST(done.exit_code == 0, done.err);
      BOOST_TEST((results_of(output) == results_of(reference)));
      BOOST_TEST(done.err.find("vdist-" + victim + ": killed by signal 9") != std::string::npos,
                 done.err);
    } else {
      BOOST_TEST(killed.exit_code == 2);
      BOOST_TEST(killed.err.find("(legal: worker 0 to worker 3)") != std::string::npos, killed.err);
    }
  }
}

BOOST_AUTO_TEST_CASE(watching_ends_with_the_cluster_or_with_an_interrupt) {
  auto batch = start_batch(output);
  wait_for_cluster();
  auto interrupted = start_ctl({"topology", "--watch", "--cluster", cluster});
  wait_until("a picture", [&interrupted] { return !interrupted.out().empty(); });
  interrupted.signal(SIGINT);
  BOOST_TEST(interrupted.wait().exit_code == 0);
  auto watch = start_ctl({"--watch", "0.1", "--cluster", cluster, "status"});
  wait_until("two pictures", [this, &watch] {
    const auto text = watch.out();
    return text.find("cluster " + cluster) != text.rfind("cluster " + cluster);
  });
  batch.signal(SIGTERM);
  BOOST_TEST(batch.wait().exit_code == 130);
  const auto done = watch.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.out.ends_with("the cluster has ended\n"), done.out);
  BOOST_TEST(!has_control_socket(cluster));
}

BOOST_AUTO_TEST_CASE(says_which_clusters_there_are_when_it_is_not_clear) {
  const auto none = ctl({"status"});
  BOOST_TEST(none.exit_code == 3);
  BOOST_TEST(none.err.find("no such cluster") != std::string::npos, none.err);
  auto one = start_batch(output);
  wait_for_cluster();
  process other({VDIST_RUN, config, "--input", input, "--output", (work / "other.jsonl").string()},
                folder.path() / "ctl1",
                work.string());
  process_result several;
  wait_until("the second cluster", [this, &several] {
    several = ctl({"status"});
    return several.exit_code != 0;
  });
  BOOST_TEST(several.exit_code == 2);
  for (const auto pid : {one.pid(), other.pid()}) {
    BOOST_TEST(several.err.find("--pid " + std::to_string(pid)) != std::string::npos, several.err);
    BOOST_TEST(ctl({"status", "--pid", std::to_string(pid)}).exit_code == 0);
  }
}

BOOST_AUTO_TEST_CASE(arguments_that_make_no_sense_are_named) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"dance"},
                                                    {"kill"},
                                                    {"kill", "worker"},
                                                    {"kill", "everybody"},
                                                    {"kill", "worker", "x"},
                                                    {"kill", "node", "--watch"},
                                                    {"drain", "replica"},
                                                    {"drain", "worker", "1"},
                                                    {"resume"},
                                                    {"resume", "replica", "x"},
                                                    {"restart"},
                                                    {"restart", "all", "--watch"},
                                                    {"restart", "all", "--json"},
                                                    {"restart", "all", "--deadline", "0"},
                                                    {"faults"},
                                                    {"faults", "dance"},
                                                    {"faults", "arm"},
                                                    {"faults", "list", "worker.load"},
                                                    {"faults", "clear", "--watch"},
                                                    {"status", "--watch", "0"},
                                                    {"status", "--pid", "-1"}}) {
    const auto done = start_ctl(arguments).wait();
    BOOST_TEST(done.exit_code == 2, done.err);
    BOOST_TEST(done.err.starts_with("vdist-ctl: "), done.err);
  }
  const auto help = start_ctl({"--help"}).wait();
  BOOST_TEST(help.exit_code == 0);
  BOOST_TEST(help.out.find("topology") != std::string::npos, help.out);
}

BOOST_AUTO_TEST_SUITE_END()
