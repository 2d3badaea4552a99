// KV outlives whoever plans: an executor, a supervisor or the whole control process dies, in the middle of long prompts and
// while all decode, and not one token is computed again. Streams are compared with an undisturbed run.
#include "tests/support/run_fixture.hpp"

using namespace vdist::testing;

namespace {

struct split {
  const char* name;
  const char* settings;
};

constexpr split splits[] = {{"tensor 2", "[parallel]\ntensor = 2\n"},
                            {"pipeline 2", "[parallel]\npipeline = 2\n"}};

/// Prompts take some fifteen steps in chunks; then all decode.
constexpr int in_prefill = 6;
constexpr int in_decode = 40;

struct kept_fixture : run_fixture {
  std::string input() {
    std::string lines;
    for (int i = 0; i < 6; ++i) {
      lines += "{\"prompt\": \"Once upon a time there was a king who lived by the sea, and every "
               "morning "
               "he looked at the ships\", \"seed\": "
               + std::to_string(i)
               + ", \"ignore_eos\": true, \"max_tokens\": " + std::to_string(60 + 3 * i)
               + (i % 2 == 0 ? ", \"temperature\": 0" : ", \"logprobs\": 2") + "}\n";
    }
    return folder.write("in.jsonl", lines).string();
  }

  /// One after the other.
  static std::string strikes(const std::vector<int>& steps, const std::string& action) {
    std::string rules;
    for (const int step : steps) {
      rules += "[[fault]]\nat = { point = \"executor.before_send\", step = " + std::to_string(step)
               + " }\naction = \"" + action + "\"\n";
    }
    return rules;
  }

  /// The report of a run that came through it.
  nlohmann::json survive(const split& how, const std::string& rules) {
    config = write_config(demo_model,
                          std::string(how.settings)
                              + "[scheduler]\nprefill_chunk = 8\nmax_batch_tokens = 16\n"
                                "[fault_tolerance]\nrestart_backoff_ms = 0\n");
    const auto script =
        folder.write("faults.toml", rules + "[expect]\nprefilled_again_max = 0\n").string();
    const auto output = (work / "out.jsonl").string();
    const auto done = run({"--input", input(), "--output", output, "--faults", script, "--verify"});
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST(done.err.find("tokens prefilled again: 0") != std::string::npos, done.err);
    return nlohmann::json::parse(read(output + ".faults.json"), nullptr, false);
  }

  /// `least`: of one strike in decoding, all prompts.
  static void check(const nlohmann::json& report, std::uint64_t least) {
    BOOST_REQUIRE(report.is_object());
    BOOST_TEST(report.at("tokens_prefilled_again") == 0U);
    BOOST_TEST(report.at("tokens_restored").get<std::uint64_t>() >= least);
    BOOST_TEST_MESSAGE("restored " << report.at("tokens_restored"));
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(kept_kv, kept_fixture)

BOOST_AUTO_TEST_CASE(an_executor_that_dies_costs_no_prefill) { // S-9, X-5
  for (const auto& how : splits) {
    BOOST_TEST_CONTEXT(how.name) {
      check(survive(how, strikes({in_prefill, in_decode}, "kill_actor")), 200);
    }
  }
}

/// The worker's death is what the supervisor hears of when it dies; its executor ends with it.
BOOST_AUTO_TEST_CASE(a_supervisor_and_a_worker_that_die_cost_no_prefill) {
  for (const auto& how : splits) {
    BOOST_TEST_CONTEXT(how.name) {
      check(survive(how,
                    "[[fault]]\nat = { point = \"worker.step_begin\", rank = 1, step = 40 }\n"
                    "action = \"kill_actor\"\n"
                    "[[fault]]\nat = { point = \"supervisor.event\" }\naction = \"kill_actor\"\n"),
            100);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_control_process_that_dies_costs_no_prefill) {
  if (isolation_under_test() != "process") {
    BOOST_TEST_MESSAGE("skipped: it is the whole program");
    return;
  }
  for (const auto& how : splits) {
    BOOST_TEST_CONTEXT(how.name) {
      check(survive(how, strikes({in_prefill, in_decode}, "kill9")), 200);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
