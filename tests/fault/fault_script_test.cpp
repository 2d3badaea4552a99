// Fault scripts as users run them: vdist-run --faults, compared with the undisturbed run.
#include "tests/support/run_fixture.hpp"

using namespace vdist::testing;

namespace {

struct script_fixture : run_fixture {
  script_fixture() { config = VDIST_SOURCE_DIR "/config/demo.toml"; }

  /// The demo over the first `requests` example prompts, under a script of config/faults.
  process_result verified(const std::string& name, std::vector<std::string> more = {}) {
    std::istringstream all(read(VDIST_SOURCE_DIR "/examples/prompts.jsonl"));
    std::string lines;
    std::string line;
    for (int i = 0; i < requests && std::getline(all, line); ++i) {
      lines += line + "\n";
    }
    const auto input = folder.write("prompts.jsonl", lines).string();
    const auto file = name.find('/') == std::string::npos
                          ? VDIST_SOURCE_DIR "/config/faults/" + name + ".toml"
                          : name;
    std::vector<std::string> arguments{"--input",
                                       input,
                                       "--output",
                                       output,
                                       "--faults",
                                       file,
                                       "--verify",
                                       "--set",
                                       "model.path=" + demo_model.string(),
                                       "--set",
                                       "fault_tolerance.step_deadline_ms=5000"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  [[nodiscard]] nlohmann::json report() const {
    return nlohmann::json::parse(read(output + ".faults.json"));
  }

  int requests = 16;
  std::string output = (work / "out.jsonl").string();

  process_result story(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{
        "--seed", "1", "--max-tokens", "90", "--set", "model.path=" + demo_model.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
};

const char* const script = VDIST_SOURCE_DIR "/config/faults/worker-restarts.toml";

} // namespace

BOOST_FIXTURE_TEST_SUITE(fault_scripts, script_fixture)

BOOST_AUTO_TEST_CASE(a_story_does_not_notice_that_two_workers_died) {
  const auto undisturbed = story({});
  BOOST_TEST(undisturbed.exit_code == 0, undisturbed.err);
  for (int round = 0; round < 3; ++round) {
    const auto disturbed = story({"--faults", script});
    BOOST_TEST(disturbed.exit_code == 0, disturbed.err);
    BOOST_TEST(disturbed.out == undisturbed.out);
    BOOST_TEST(disturbed.err.find("restarts=2") != std::string::npos, disturbed.err);
  }
}

BOOST_AUTO_TEST_CASE(a_batch_does_not_notice_either) {
  std::string lines;
  for (int i = 0; i < 8; ++i) {
    lines += "{\"prompt\": \"One morning the king\", \"seed\": " + std::to_string(i)
             + ", \"max_tokens\": " + std::to_string(60 + i) + "}\n";
  }
  const auto input = folder.write("in.jsonl", lines).string();
  std::vector<nlohmann::json> first;
  for (const bool is_disturbed : {false, true}) {
    const auto output = (work / (is_disturbed ? "disturbed" : "undisturbed")).string();
    std::vector<std::string> arguments{
        "--input", input, "--output", output, "--set", "model.path=" + demo_model.string()};
    if (is_disturbed) {
      arguments.insert(arguments.end(), {"--faults", script});
    }
    const auto done = run(arguments);
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    auto results = parse_lines(read(output));
    for (auto& result : results) {
      result.erase("timings");
    }
    std::sort(results.begin(), results.end());
    BOOST_TEST(results.size() == 8U);
    if (is_disturbed) {
      BOOST_TEST((results == first));
    }
    first = results;
  }
}

BOOST_AUTO_TEST_CASE(a_story_does_not_notice_that_its_only_worker_died_twice) {
  const std::vector<std::string> one_worker{
      "--set", "parallel.tensor=1", "--set", "parallel.pipeline=1"};
  auto script_text = read(VDIST_SOURCE_DIR "/config/faults/one-worker.toml");
  if (isolation_under_test()
      == "thread") { // a SIGKILL of a thread would be one of the whole program
    script_text.replace(script_text.find("kill9\""), 6, "kill_actor\"");
  }
  const auto one_script = folder.write("one-worker.toml", script_text).string();
  const auto undisturbed = story(one_worker);
  auto arguments = one_worker;
  arguments.insert(arguments.end(), {"--faults", one_script});
  const auto disturbed = story(arguments);
  BOOST_TEST(disturbed.exit_code == 0, disturbed.err);
  BOOST_TEST(disturbed.out == undisturbed.out);
  BOOST_TEST(disturbed.err.find("restarts=2") != std::string::npos, disturbed.err);
}

BOOST_AUTO_TEST_CASE(a_fault_that_is_never_hit_fails_the_run) {
  const auto never = folder.write(
      "never.toml",
      "[[fault]]\nat = {point = \"worker.step_begin\", step = 100000}\naction = \"throw\"\n");
  const auto done = story({"--faults", never.string()});
  BOOST_TEST(done.exit_code == 4);
  BOOST_TEST(done.err.find("fault 1 at worker.step_begin was never hit") != std::string::npos,
             done.err);
}

BOOST_AUTO_TEST_CASE(a_worker_that_always_dies_ends_the_run_with_its_reason) {
  const auto always = folder.write(
      "always.toml",
      "[[fault]]\nat = {point = \"worker.step_begin\", rank = 1}\naction = \"throw\"\ncount = 0\n");
  const auto done = story({"--faults",
                           always.string(),
                           "--set",
                           "fault_tolerance.shrink=false",
                           "--set",
                           "fault_tolerance.poison_strikes=0"});
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(done.err.find("worker slot 1 died") != std::string::npos, done.err);
  BOOST_TEST(done.wall.count() < 30.0);
}

/// One line fails, with the reason; the fifteen others do not notice.
BOOST_AUTO_TEST_CASE(a_poisonous_request_fails_alone) {
  if (isolation_under_test() == "thread") {
    return; // poison_test and fault_test have it with exceptions
  }
  const auto done = verified("poison");
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("0 lost, 1 altered, 0 doubled of 17 streams") != std::string::npos,
             done.err);
}

BOOST_AUTO_TEST_CASE(every_worker_is_killed_and_no_stream_is_lost_or_altered) {
  if (isolation_under_test() == "thread") {
    const auto refused = verified("worker-kills");
    BOOST_TEST(refused.exit_code == 2);
    BOOST_TEST(
        refused.err.find("worker-kills.toml:7: fault: kill9 needs workers that are processes")
            != std::string::npos,
        refused.err);
    return;
  }
  for (int round = 0; round < 2; ++round) { // the second finds the files of the first
    const auto done = verified("worker-kills");
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.err.find("0 lost, 0 altered, 0 doubled of 17 streams; 6 injections")
                   != std::string::npos,
               done.err);
    const auto json = report();
    BOOST_TEST(json.at("passed") == true);
    BOOST_TEST(json.at("rows").size() == 6U);
    for (const auto& row : json.at("rows")) {
      BOOST_TEST(row.at("stall_ms").is_number(), row);
    }
    BOOST_TEST(json.at("rows")[0].at("rebuild_ms").is_number(), json.at("rows")[0]);
    BOOST_TEST(read(output + ".faults.svg").find("class=\"mark\"") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(
    a_worker_that_cannot_come_back_leaves_a_smaller_cluster_and_no_stream_changes) {
  if (isolation_under_test() == "thread") {
    BOOST_TEST(verified("shrink").exit_code == 2, "kill9 needs workers that are processes");
    return;
  }
  requests = 4;
  const auto done = verified("shrink");
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("goes on with 2 of 4 workers (pipeline 2 -> 1, tensor 2 -> 2")
                 != std::string::npos,
             done.err);
  BOOST_TEST(done.err.find("0 lost, 0 altered, 0 doubled") != std::string::npos, done.err);
  BOOST_TEST(report().at("passed") == true);
}

/// The nearest that a worker without a GPU can do.
BOOST_AUTO_TEST_CASE(devices_that_break_or_hang_or_err_change_no_stream) {
  for (const std::string name : {"gpu", "gpu-group"}) {
    const auto done = verified(name);
    if (isolation_under_test() == "thread") {
      BOOST_TEST(done.exit_code == 2, "illegal_address needs workers that are processes");
      continue;
    }
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.err.find("0 lost, 0 altered, 0 doubled") != std::string::npos, done.err);
    BOOST_TEST(done.err.find("its device has failed, and it ends") != std::string::npos, done.err);
    const bool has_flipped = name == "gpu-group";
    BOOST_TEST((done.err.find("ranks of stage 0 disagree (slots 0, 1, step=") != std::string::npos)
                   == has_flipped,
               done.err);
  }
}

/// At once: nobody tries it five times.
BOOST_AUTO_TEST_CASE(a_device_that_is_lost_leaves_a_smaller_cluster_and_no_stream_changes) {
  if (isolation_under_test() == "thread") {
    return; // threads share their devices: their replica is given up
  }
  requests = 4;
  const auto done = verified("gpu-lost");
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("goes on with 2 of 4 workers (pipeline 2 -> 1, tensor 2 -> 2; sums keep "
                           "their order): replica 0: failpoint worker.step_begin: the device must "
                           "not be used any more")
                 != std::string::npos,
             done.err);
  BOOST_TEST(done.err.find("0 lost, 0 altered, 0 doubled") != std::string::npos, done.err);
}

BOOST_AUTO_TEST_CASE(frames_that_are_damaged_change_no_stream) {
  const auto done = verified("channels");
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(report().at("injections") == 7);
}

BOOST_AUTO_TEST_CASE(workers_that_are_slow_or_report_errors_change_no_stream) {
  const bool has_processes = isolation_under_test() != "thread";
  for (const std::string name : {"slow-workers", "errors"}) {
    const auto done = verified(name);
    BOOST_TEST(done.exit_code == (has_processes ? 0 : 2), done.err);
  }
}

BOOST_AUTO_TEST_CASE(a_nemesis_strikes_and_no_stream_changes) {
  requests = 8;
  const auto nemesis =
      folder.write("nemesis.toml",
                   "seed = 4\n[[fault]]\nevery_ms = 60\ncount = 8\n"
                   "choose = [\"kill_actor worker\", \"throw worker\", \"delay(5) worker\", "
                   "\"kill_actor executor\"]\n");
  const auto done = verified(nemesis.string(),
                             {"--set",
                              "fault_tolerance.max_restarts=1000",
                              "--set",
                              "fault_tolerance.poison_strikes=0"}); // it may be faster than tokens
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(report().at("injections") >= 1);
}

BOOST_AUTO_TEST_CASE(the_nemesis_that_we_ship_changes_no_stream) {
  const bool has_processes = isolation_under_test() != "thread";
  const auto done = verified("nemesis",
                             {"--set",
                              "fault_tolerance.max_restarts=1000",
                              "--set",
                              "fault_tolerance.poison_strikes=0"}); // as above
  BOOST_TEST(done.exit_code == (has_processes ? 0 : 2), done.err);
  if (has_processes) {
    BOOST_TEST(report().at("injections") >= 1);
  }
}

BOOST_AUTO_TEST_CASE(an_expectation_that_is_not_met_fails_the_run) {
  requests = 2;
  const auto strict = folder.write("strict.toml",
                                   "[[fault]]\nrule = \"worker.step_begin rank=1 step=5 throw\"\n"
                                   "[expect]\nrestarts_max = 0\n");
  const auto done = verified(strict.string());
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(done.err.find("1 worker restarts, expected 0 at most") != std::string::npos, done.err);
  BOOST_TEST(report().at("passed") == false);
}

BOOST_AUTO_TEST_CASE(a_full_disk_ends_the_run_and_the_next_one_goes_on) {
  const auto input =
      folder.write("in.jsonl", "{\"prompt\": \"The king\", \"max_tokens\": 5}\n").string();
  const auto full = folder.write("full.toml", "[[fault]]\nrule = \"batch.write full\"\n");
  const std::vector<std::string> batch{
      "--input", input, "--output", output, "--set", "model.path=" + demo_model.string()};
  auto with_fault = batch;
  with_fault.insert(with_fault.end(), {"--faults", full.string()});
  const auto stopped = run(with_fault);
  BOOST_TEST(stopped.exit_code == 3, stopped.err);
  BOOST_TEST(stopped.err.find("batch.write: no room is left") != std::string::npos, stopped.err);
  BOOST_TEST(read(output).empty());
  const auto done = run(batch);
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(parse_lines(read(output)).size() == 1U);
}

BOOST_AUTO_TEST_CASE(verify_needs_something_to_compare) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--verify"},
                                                    {"--verify", "--faults", script},
                                                    {"--verify", "--input", "x", "--output", "y"},
                                                    {"--faults-report", "x"}}) {
    const auto done = run(arguments);
    BOOST_TEST(done.exit_code == 2, done.err);
  }
}

BOOST_AUTO_TEST_SUITE_END()
