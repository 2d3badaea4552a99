// Parts of a cluster are replaced as planned, and replicas drained, while a batch runs: nothing fails, nothing changes, and
// nothing counts as a fault. Real processes and the real vdist-ctl.
#include "tests/fault/cluster_talk.hpp"
#include "tests/support/process_tree.hpp"
#include "tests/support/run_fixture.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sys/stat.h>

using namespace vdist::testing;
using nlohmann::json;

namespace {

constexpr const char* two_by_two = "[parallel]\ndata = 2\ntensor = 2\n";
constexpr const char* two_stages = "[parallel]\npipeline = 2\n";

ino_t file_of(const std::filesystem::path& path) {
  struct stat now {};

  return ::stat(path.c_str(), &now) == 0 ? now.st_ino : 0;
}

/// One death of any worker within the window is allowed, so that no planned end can be counted unnoticed.
struct rolling_fixture : run_fixture {
  void use(const std::string& parallel, const std::string& more = "") {
    config = write_config(demo_model,
                          parallel + "[cluster]\nname = \"" + name
                              + "\"\nisolation = \"process\"\n"
                                "[scheduler]\nmax_sequences = 8\n"
                                "[fault_tolerance]\nmax_restarts = 1\n"
                              + more);
  }

  /// Requests that use every way of choosing tokens: greedy, seeded, with log probabilities.
  std::string input_of(int requests) {
    std::string lines;
    for (int i = 0; i < requests; ++i) {
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
    return folder.write("in.jsonl", lines).string();
  }

  std::vector<std::string> batch_of(const std::filesystem::path& to) {
    return {"--input", input, "--output", to.string()};
  }

  process start_ctl(std::vector<std::string> arguments) {
    const auto place = folder.path() / ("ctl" + std::to_string(++controls));
    std::filesystem::create_directory(place);
    arguments.insert(arguments.begin(), VDIST_CTL);
    arguments.insert(arguments.end(), {"--cluster", name});
    return process(arguments, place, work.string());
  }

  process_result ctl(const std::vector<std::string>& arguments) {
    return start_ctl(arguments).wait();
  }

  /// What must not change of every result, by id and index.
  static std::map<std::string, json> results_of(const std::filesystem::path& path) {
    std::map<std::string, json> all;
    for (const auto& line : parse_lines(read(path))) {
      BOOST_REQUIRE_MESSAGE(line.contains("token_ids"), line.dump());
      json kept{{"token_ids", line.at("token_ids")}};
      for (const char* member : {"text", "finish_reason", "logprobs"}) {
        if (line.contains(member)) {
          kept[member] = line.at(member);
        }
      }
      const auto key =
          line.at("id").get<std::string>() + "/" + std::to_string(line.value("index", 0));
      BOOST_TEST(all.emplace(key, kept).second, "once: " << key);
    }
    return all;
  }

  void make_reference(int requests) {
    input = input_of(requests);
    const auto done = run(batch_of(reference));
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  }

  process start_batch() {
    std::filesystem::remove(output);
    return start(batch_of(output));
  }

  void wait_until_it_computes(const process& batch) const {
    const cluster_talk talk(batch.pid(), name);
    wait_until("it computes", [&talk] {
      const auto now = talk.status();
      return now && now->replicas.front().tokens > 0;
    });
  }

  void check_batch(process& batch) {
    const auto done = batch.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST((results_of(output) == results_of(reference)));
  }

  /// All of these are other processes than before; vault and supervisor are not.
  static void check_replaced(const process& batch,
                             const process_tree& before,
                             const std::vector<std::string>& names) {
    const auto now = children_of(batch.pid());
    for (const auto& [part, pid] : before) {
      const bool is_wanted = std::find(names.begin(), names.end(), part) != names.end();
      BOOST_TEST((now.contains(part) && (now.at(part) != pid) == is_wanted), part);
    }
  }

  /// Waits for the outcome of vdist-ctl, whose batch must not end before.
  static void check_rolled(process& control, const process& batch) {
    const auto done = control.wait();
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST_MESSAGE(done.out);
    BOOST_TEST(!has_ended(batch), "the batch is too short for this machine");
  }

  std::string name = "rolling_" + std::to_string(::getpid());
  std::string input;
  std::filesystem::path reference = work / "reference.jsonl";
  std::filesystem::path output = work / "out.jsonl";
  int controls = 0;
};

/// Where programs look for each other, while this lives.
class programs_setting {
public:
  explicit programs_setting(const std::filesystem::path& folder) {
    if (const char* before = std::getenv(name)) {
      before_ = before;
    }
    ::setenv(name, folder.c_str(), 1);
  }

  ~programs_setting() {
    if (before_) {
      ::setenv(name, before_->c_str(), 1);
    } else {
      ::unsetenv(name);
    }
  }

  programs_setting(const programs_setting&) = delete;
  programs_setting& operator=(const programs_setting&) = delete;

private:
  static constexpr const char* name = "VDIST_PROGRAMS";
  std::optional<std::string> before_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(rolling, rolling_fixture)

/// Twice, and once more replica by replica: every worker is replaced three times where one death is allowed.
BOOST_AUTO_TEST_CASE(all_parts_of_two_replicas_are_replaced_under_load) {
  use(two_by_two);
  make_reference(250);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  const std::vector<std::string> workers{"worker 0", "worker 1", "worker 2", "worker 3"};
  for (int round = 0; round < 2; ++round) {
    const auto before = wait_for_children(batch, 6);
    auto all = start_ctl({"restart", "all"});
    check_rolled(all, batch);
    auto parts = workers;
    parts.push_back("node");
    check_replaced(batch, before, parts);
  }
  const auto before = wait_for_children(batch, 6);
  for (const char* replica : {"0", "1"}) {
    auto one = start_ctl({"restart", "replica", replica});
    check_rolled(one, batch);
  }
  check_replaced(batch, before, workers);
  const auto status = cluster_talk(batch.pid(), name).status();
  BOOST_REQUIRE(status.has_value());
  for (const auto& replica : status->replicas) {
    BOOST_TEST(replica.state == "running");
    BOOST_TEST(replica.restarts == 0U, "no fault");
    for (const auto& worker : replica.workers) {
      BOOST_TEST(worker.incarnation == 4U);
    }
  }
  check_batch(batch);
}

BOOST_AUTO_TEST_CASE(all_parts_of_a_pipeline_are_replaced_under_load) {
  use(two_stages);
  make_reference(60);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  const auto before = wait_for_children(batch, 4);
  auto all = start_ctl({"restart", "all"});
  check_rolled(all, batch);
  check_replaced(batch, before, {"worker 0", "worker 1", "node"});
  check_batch(batch);
}

BOOST_AUTO_TEST_CASE(a_rolling_restart_goes_on_when_its_node_is_killed) {
  use(two_by_two);
  make_reference(150);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  const auto before = wait_for_children(batch, 6);
  auto all = start_ctl({"restart", "all"});
  wait_until("the first part is replaced",
             [&all] { return all.out().find("  1/5  worker 0") != std::string::npos; });
  const auto second = ctl({"restart", "worker", "3"});
  BOOST_TEST(second.exit_code == 4);
  BOOST_TEST(second.err.find("another restart is under way") != std::string::npos, second.err);
  ::kill(children_of(batch.pid()).at("node"), SIGKILL);
  check_rolled(all, batch);
  check_replaced(batch, before, {"worker 0", "worker 1", "worker 2", "worker 3", "node"});
  check_batch(batch);
}

BOOST_AUTO_TEST_CASE(an_interrupted_restart_leaves_a_whole_cluster) {
  use(two_by_two);
  make_reference(60);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  auto all = start_ctl({"restart", "all"});
  wait_until("the first part is replaced",
             [&all] { return all.out().find("  1/5  worker 0") != std::string::npos; });
  all.signal(SIGINT);
  const auto done = all.wait();
  BOOST_TEST(done.exit_code == 130, done.err);
  BOOST_TEST(done.err.find("interrupted at ") != std::string::npos, done.err);
  auto again = start_ctl({"restart", "worker", "0"}); // the claim was let go
  check_rolled(again, batch);
  check_batch(batch);
}

BOOST_AUTO_TEST_CASE(a_replica_is_drained_and_resumed_and_a_dead_node_forgets_nothing) {
  use(two_by_two);
  make_reference(150);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  const cluster_talk talk(batch.pid(), name);
  BOOST_TEST(ctl({"drain", "replica", "0"}).exit_code == 0);
  const auto last = ctl({"drain", "replica", "1"});
  BOOST_TEST(last.exit_code == 2);
  BOOST_TEST(last.err.find("the last one that takes requests") != std::string::npos, last.err);
  const auto is_drained = [&talk] {
    const auto now = talk.status();
    return now && now->replicas[0].is_draining && now->replicas[0].active == 0;
  };
  wait_until("its requests have ended", is_drained);
  const auto node = children_of(batch.pid()).at("node");
  ::kill(node, SIGKILL);
  BOOST_REQUIRE(wait_for_successor(batch, "node", node) != 0);
  // Its successor hears of the requests one after the other: none of them is this replica's.
  wait_until("still so", is_drained);
  const auto picture = ctl({"status"});
  BOOST_TEST(picture.out.find("drained") != std::string::npos, picture.out);
  BOOST_TEST(ctl({"resume", "replica", "0"}).exit_code == 0);
  wait_until("it works again", [&talk, &batch] {
    const auto now = talk.status();
    return has_ended(batch)
           || (now && !now->replicas[0].is_draining && now->replicas[0].active > 0);
  });
  BOOST_TEST(!has_ended(batch), "the batch is too short for this machine");
  auto drained = start_ctl({"restart", "replica", "1", "--drain"});
  check_rolled(drained, batch);
  check_batch(batch);
}

/// What it has accepted is written by the successor, the rest by the next run.
BOOST_AUTO_TEST_CASE(a_cluster_that_drains_goes_on_draining_when_its_node_dies) {
  use(two_stages);
  make_reference(60);
  auto batch = start_batch();
  wait_until_it_computes(batch);
  BOOST_TEST(ctl({"drain"}).exit_code == 0);
  const auto node = children_of(batch.pid()).at("node");
  ::kill(node, SIGKILL);
  const auto done = batch.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("run again to go on") != std::string::npos, done.err);
  const auto expected = results_of(reference);
  const auto first = results_of(output);
  BOOST_TEST(first.size() > 0U);
  BOOST_TEST(first.size() < expected.size());
  for (const auto& [key, result] : first) {
    BOOST_TEST((expected.at(key) == result), key);
  }
  BOOST_TEST(run(batch_of(output)).exit_code == 0);
  BOOST_TEST((results_of(output) == expected));
}

/// A spare keeps the program that it was started with: it is not used for a worker of the new one.
BOOST_DATA_TEST_CASE(new_programs_are_picked_up_and_foreign_ones_refused,
                     boost::unit_test::data::make({"generic", "prepared"}),
                     spares) {
  use(two_by_two, "standby = 1\nstandby_kind = \"" + std::string(spares) + "\"\n");
  make_reference(150);
  const auto built = std::filesystem::path(VDIST_RUN).parent_path();
  const auto programs = folder.path() / "bin";
  const auto install = [&programs](const std::filesystem::path& from, const std::string& program) {
    std::filesystem::copy_file(from, programs / (program + ".new"));
    std::filesystem::rename(programs / (program + ".new"), programs / program);
  };
  std::filesystem::create_directory(programs);
  for (const char* program : {"vdist-run", "vdist-node", "vdist-worker", "vdist-vault"}) {
    install(built / program, program);
  }
  const programs_setting here(programs); // also where the test's own environment names others
  auto command = batch_of(output);
  command.insert(command.begin(), {(programs / "vdist-run").string(), config});
  process batch(command, folder.path(), work.string());
  wait_until_it_computes(batch);
  for (const char* program : {"vdist-node", "vdist-worker"}) {
    install(built / program, program);
  }
  auto all = start_ctl({"restart", "all"});
  check_rolled(all, batch);
  for (const auto& [part, pid] : children_of(batch.pid())) {
    const auto running = file_of("/proc/" + std::to_string(pid) + "/exe");
    const auto program = part == "node"    ? "vdist-node"
                         : part == "vault" ? "vdist-vault"
                                           : "vdist-worker";
    BOOST_TEST(running == file_of(programs / program), part << " runs an old program");
  }
  const auto before = children_of(batch.pid());
  for (const char* program : {"vdist-node", "vdist-worker"}) {
    install("/bin/false", program); // whatever it is, it does not speak as we do
  }
  for (const std::vector<std::string>& part :
       {std::vector<std::string>{"restart", "worker", "1"}, {"restart", "node"}}) {
    const auto refused = ctl(part);
    BOOST_TEST(refused.exit_code == 2);
    BOOST_TEST(refused.err.find("another version") != std::string::npos, refused.err);
  }
  check_replaced(batch, before, {});
  check_batch(batch);
}

BOOST_AUTO_TEST_SUITE_END()
