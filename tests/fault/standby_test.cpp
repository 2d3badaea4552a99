// Workers with a spare that is prepared for them: the worker dies, its spare dies, both, and everything around them. Real
// processes; a batch that takes its time while somebody is killed, and whose results must be those of an undisturbed one.
#include "tests/fault/cluster_talk.hpp"
#include "tests/support/process_tree.hpp"
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <map>
#include <optional>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr int workers = 2;

struct standby_fixture : run_fixture {
  standby_fixture() {
    use("");
    std::string lines;
    for (int i = 0; i < 40; ++i) {
      json line{{"id", "r" + std::to_string(i)},
                {"prompt", "One morning the king"},
                {"seed", i},
                {"ignore_eos", true},
                {"max_tokens", 120}};
      if (i % 3 == 0) {
        line["temperature"] = 0;
      } else if (i % 3 == 1) {
        line["n"] = 2;
      } else {
        line["logprobs"] = 2;
      }
      lines += line.dump() + "\n";
    }
    input = folder.write("in.jsonl", lines).string();
  }

  void use(const std::string& more) {
    config = write_config(demo_model,
                          "[parallel]\ntensor = 2\n[cluster]\nname = \"" + name
                              + "\"\nisolation = \"process\"\n[scheduler]\nmax_sequences = 4\n"
                                "[fault_tolerance]\nstandby = 1\nstandby_kind = \"prepared\"\n"
                                "max_restarts = 100\nrestart_backoff_ms = 0\n"
                                "poison_strikes = 0\n" // kills may come faster than tokens
                              + more);
  }

  process start_batch(const std::filesystem::path& to, std::vector<std::string> more = {}) {
    std::filesystem::remove(to);
    more.insert(more.begin(), {"--input", input, "--output", to.string()});
    return start(more);
  }

  /// From now on it takes its time, until hurry().
  void slow_down(const process& batch) const {
    const cluster_talk talk(batch.pid(), name);
    wait_until("it can be talked to",
               [&talk] { return talk.arm("executor.before_send 0*delay(5)").has_value(); });
  }

  void hurry(const process& batch) const {
    const cluster_talk talk(batch.pid(), name);
    wait_until("it hears", [&talk] { return talk.clear().has_value(); });
  }

  [[nodiscard]] std::optional<control::cluster_status> status_of(const process& batch) const {
    return cluster_talk(batch.pid(), name).status();
  }

  /// By rank: the spares that are ready.
  [[nodiscard]] std::map<int, pid_t> spares_of(const process& batch) const {
    std::map<int, pid_t> ready;
    if (const auto now = status_of(batch)) {
      for (const auto& one : now->spares) {
        if (one.is_ready) {
          ready[one.rank] = one.pid;
        }
      }
    }
    return ready;
  }

  /// Waits until every worker has a ready spare, and that of `rank` is another one than `before`.
  std::map<int, pid_t> wait_for_spares(const process& batch, int rank = 0, pid_t before = 0) const {
    std::map<int, pid_t> ready;
    wait_until("all spares are ready", [&] {
      BOOST_REQUIRE_MESSAGE(!has_ended(batch), "the batch is too short: " << batch.err());
      ready = spares_of(batch);
      return ready.size() == workers && ready.at(rank) != before;
    });
    return ready;
  }

  [[nodiscard]] pid_t worker_of(const process& batch, int rank) const {
    const auto now = status_of(batch);
    if (!now || now->replicas.empty()) {
      return 0;
    }
    const auto& all = now->replicas.front().workers;
    const auto found =
        std::find_if(all.begin(), all.end(), [rank](const auto& one) { return one.rank == rank; });
    return found == all.end() || found->state != "running" ? 0 : found->pid;
  }

  pid_t wait_for_worker(const process& batch, int rank, pid_t before) const {
    pid_t now = 0;
    wait_until("a successor of worker " + std::to_string(rank), [&] {
      now = worker_of(batch, rank);
      return now != 0 && now != before;
    });
    return now;
  }

  static std::map<std::string, json> results_of(const std::filesystem::path& path) {
    std::map<std::string, json> all;
    for (auto& line : parse_lines(read(path))) {
      line.erase("timings");
      const auto key =
          line.at("id").get<std::string>() + "/" + std::to_string(line.value("index", 0));
      BOOST_TEST(all.emplace(key, line).second, "once: " << key);
    }
    return all;
  }

  /// What an undisturbed batch writes.
  const std::map<std::string, json>& undisturbed() {
    static std::map<std::string, json> results; // of all cases
    if (results.empty()) {
      const auto reference = work / "reference.jsonl";
      auto batch = start_batch(reference);
      BOOST_REQUIRE(batch.wait().exit_code == 0);
      results = results_of(reference);
    }
    return results;
  }

  void check(process& batch, const std::vector<pid_t>& used) {
    hurry(batch);
    check_end(batch, used);
  }

  /// Its end, its results, and that nothing of it stays.
  void check_end(process& batch, const std::vector<pid_t>& used) {
    const auto done = batch.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    const auto results = results_of(output);
    BOOST_TEST_INFO_SCOPE(done.err);
    BOOST_TEST(results.size() == undisturbed().size());
    for (const auto& [key, wanted] : undisturbed()) {
      const auto found = results.find(key);
      BOOST_TEST((found != results.end() && found->second == wanted),
                 key << ": " << (found != results.end() ? found->second.dump() : "none")
                     << " instead of " << wanted);
    }
    for (const auto pid : used) {
      wait_until("it has ended", [pid] { return !is_alive(pid); });
    }
  }

  std::string name = "standby_" + std::to_string(::getpid());
  std::string input;
  std::filesystem::path output = work / "out.jsonl";
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(prepared_spares, standby_fixture)

BOOST_AUTO_TEST_CASE(a_killed_worker_is_succeeded_by_its_spare_again_and_again) {
  auto batch = start_batch(output);
  slow_down(batch);
  std::vector<pid_t> used;
  auto spares = wait_for_spares(batch);
  for (int round = 0; round < 4; ++round) {
    const int rank = round % workers;
    const auto victim = worker_of(batch, rank);
    const auto spare = spares.at(rank);
    const auto other = spares.at(1 - rank);
    BOOST_REQUIRE(victim != 0);
    ::kill(victim, SIGKILL);
    BOOST_TEST(wait_for_worker(batch, rank, victim) == spare);
    used.insert(used.end(), {victim, spare});
    spares = wait_for_spares(batch, rank, spare);
    BOOST_TEST(spares.at(1 - rank) == other, "that of the other one waits on");
  }
  check(batch, used);
}

BOOST_AUTO_TEST_CASE(a_spare_that_dies_disturbs_nobody_and_is_replaced) {
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto before = status_of(batch);
  ::kill(spares.at(1), SIGKILL);
  const auto again = wait_for_spares(batch, 1, spares.at(1));
  BOOST_TEST(again.at(0) == spares.at(0));
  const auto now = status_of(batch);
  BOOST_REQUIRE(before && now);
  BOOST_TEST(now->replicas.front().restarts == 0U);
  BOOST_TEST(now->replicas.front().epoch == before->replicas.front().epoch);
  check(batch, {spares.at(1), again.at(1)});
}

BOOST_AUTO_TEST_CASE(a_worker_and_its_spare_die_together) {
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto victim = worker_of(batch, 1);
  ::kill(spares.at(1), SIGKILL);
  ::kill(victim, SIGKILL);
  const auto successor = wait_for_worker(batch, 1, victim);
  BOOST_TEST(successor != spares.at(1));
  const auto again = wait_for_spares(batch, 1, spares.at(1));
  check(batch, {victim, spares.at(1), successor, again.at(1)});
}

BOOST_AUTO_TEST_CASE(all_workers_die_together) {
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto first = worker_of(batch, 0);
  const auto second = worker_of(batch, 1);
  ::kill(first, SIGKILL);
  ::kill(second, SIGKILL);
  BOOST_TEST(wait_for_worker(batch, 0, first) == spares.at(0));
  BOOST_TEST(wait_for_worker(batch, 1, second) == spares.at(1));
  check(batch, {first, second});
}

/// Whoever is promoted meanwhile is a worker when it is through.
BOOST_AUTO_TEST_CASE(a_spare_that_still_prepares_is_promoted) {
  const auto script = folder.write("slow.toml",
                                   "[[fault]]\nrule = \"worker.prepare rank=1 delay(1500)\"\n"
                                   "[[fault]]\nrule = \"executor.before_send 300*delay(5)\"\n");
  auto batch = start_batch(output, {"--faults", script.string()});
  pid_t spare = 0;
  wait_until("it prepares", [&] {
    if (const auto now = status_of(batch)) {
      for (const auto& one : now->spares) {
        spare = one.rank == 1 && !one.is_ready ? one.pid : spare;
      }
      return spare != 0 && cluster_talk(batch.pid(), name).faults()->rules.at(0).hits == 1U;
    }
    return false;
  });
  const auto victim = worker_of(batch, 1);
  ::kill(victim, SIGKILL);
  BOOST_TEST(wait_for_worker(batch, 1, victim) == spare);
  check_end(batch, {victim});
}

BOOST_AUTO_TEST_CASE(a_spare_that_dies_or_fails_while_it_prepares_is_tried_again) {
  for (const char* how : {"kill9", "oom", "segv"}) {
    const auto script =
        folder.write("dies.toml",
                     "[[fault]]\nrule = \"worker.prepare rank=1 " + std::string(how)
                         + "\"\n[[fault]]\nrule = \"executor.before_send 300*delay(5)\"\n");
    auto batch = start_batch(output, {"--faults", script.string()});
    const auto spares = wait_for_spares(batch);
    BOOST_TEST(status_of(batch)->replicas.front().restarts == 0U);
    const auto victim = worker_of(batch, 1);
    ::kill(victim, SIGKILL);
    const auto successor = wait_for_worker(batch, 1, victim);
    BOOST_TEST((successor == spares.at(1)),
               how << ": " << successor << " behind " << victim << ", spares were " << spares.at(0)
                   << " and " << spares.at(1) << ": " << batch.err());
    check_end(batch, {victim});
  }
}

BOOST_AUTO_TEST_CASE(a_new_control_process_finds_the_spares_that_there_are) {
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto node = children_of(batch.pid()).at("node");
  ::kill(node, SIGKILL);
  BOOST_REQUIRE(wait_for_successor(batch, "node", node) != 0);
  BOOST_TEST((wait_for_spares(batch) == spares));
  const auto victim = worker_of(batch, 0);
  ::kill(victim, SIGKILL);
  BOOST_TEST(wait_for_worker(batch, 0, victim) == spares.at(0));
  (void)wait_for_spares(batch, 0, spares.at(0));
  check(batch, {victim, node});
}

BOOST_AUTO_TEST_CASE(spares_outlive_the_vault_and_serve_with_the_next) { // H-15
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto before = children_of(batch.pid());
  ::kill(before.at("vault"), SIGKILL);
  BOOST_REQUIRE(wait_for_successor(batch, "vault", before.at("vault")) != 0);
  const auto victim = before.at("worker 0");
  ::kill(victim, SIGKILL);
  BOOST_TEST(wait_for_worker(batch, 0, victim) == spares.at(0));
  (void)wait_for_spares(batch, 0, spares.at(0));
  check(batch, {victim});
}

BOOST_AUTO_TEST_CASE(spares_end_with_the_memory_and_come_back_with_the_next) { // H-6
  auto batch = start_batch(output);
  slow_down(batch);
  const auto spares = wait_for_spares(batch);
  const auto vault = children_of(batch.pid()).at("vault");
  BOOST_REQUIRE(cluster_talk(batch.pid(), name).arm("vault.take_over 3*kill9"));
  ::kill(vault, SIGKILL);
  BOOST_REQUIRE(wait_for_successor(batch, "vault", vault) != 0);
  for (const auto& [rank, pid] : spares) {
    wait_until("the spare has ended", [pid = pid] { return !is_alive(pid); });
  }
  const auto again = wait_for_spares(batch);
  check(batch, {spares.at(0), spares.at(1), again.at(0), again.at(1)});
}

BOOST_AUTO_TEST_CASE(generic_spares_are_as_they_were) {
  auto batch = start_batch(output, {"--set", "fault_tolerance.standby_kind=auto"}); // on a CPU
  slow_down(batch);
  pid_t spare = 0;
  wait_until("a spare waits", [&] {
    const auto now = status_of(batch);
    spare = now && !now->spares.empty() ? now->spares.front().pid : 0;
    return spare != 0 && now->spares.front().rank == -1 && worker_of(batch, 1) != 0;
  });
  const auto victim = worker_of(batch, 1);
  ::kill(victim, SIGKILL);
  BOOST_TEST(wait_for_worker(batch, 1, victim) == spare);
  check(batch, {victim});
}

BOOST_AUTO_TEST_SUITE_END()
