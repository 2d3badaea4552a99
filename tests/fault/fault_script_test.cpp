// Fault scripts as users run them: vdist-run --faults, compared with the undisturbed run.
#include "tests/support/run_fixture.hpp"

using namespace vdist::testing;

namespace {

struct script_fixture : run_fixture {
  script_fixture() { config = VDIST_SOURCE_DIR "/config/demo.toml"; }

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
  const auto done = story({"--faults", always.string()});
  BOOST_TEST(done.exit_code == 4, done.err);
  BOOST_TEST(done.err.find("worker slot 1 died") != std::string::npos, done.err);
  BOOST_TEST(done.wall.count() < 30.0);
}

BOOST_AUTO_TEST_SUITE_END()
