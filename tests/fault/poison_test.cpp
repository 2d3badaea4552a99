// Requests that processes die of: whoever is poisonous fails after as many deaths as poison_strikes says, with the reason, and
// every other stream is that of an undisturbed run. Real processes, real SIGKILLs.
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <string>
#include <vector>

using namespace vdist::testing;

namespace {

constexpr int requests = 7; // ids 1 to 7, in the order of the lines
constexpr std::string_view long_prompt =
    "Once upon a time there was a little old woman who lived in a small house near the wood. She "
    "had "
    "a cat and a dog and a red hen, and every morning she went out to look for eggs. One day";

struct poison_fixture : run_fixture {
  poison_fixture() {
    config = write_config(demo_model,
                          "[cluster]\nisolation = \"process\"\n[scheduler]\nprefill_chunk = 16\n"
                          "[fault_tolerance]\nrestart_backoff_ms = 0\n");
    std::string lines;
    for (int i = 1; i <= requests; ++i) {
      lines += fmt::format(R"({{"id": "{}", "prompt": "{}", "seed": {}, "temperature": {}, )"
                           R"("max_tokens": {}, "ignore_eos": true}})"
                           "\n",
                           i,
                           i == 5 ? long_prompt : "One morning the king",
                           i,
                           i % 2 == 0 ? 0.0 : 0.9,
                           60 + i);
    }
    input = folder.write("in.jsonl", lines).string();
  }

  /// One worker over the same lines, without a fault.
  std::map<std::string, nlohmann::json> undisturbed() { return results(run_batch({})); }

  process_result run_batch(std::vector<std::string> more) {
    std::filesystem::remove(output);
    more.insert(more.begin(), {"--input", input, "--output", output});
    return run(more);
  }

  /// By id, without what differs between any two runs.
  std::map<std::string, nlohmann::json> results(const process_result& done) {
    BOOST_TEST(done.exit_code == 0, done.err);
    std::map<std::string, nlohmann::json> all;
    for (auto line : parse_lines(read(output))) {
      line.erase("timings");
      const auto id = line.at("id").get<std::string>();
      BOOST_TEST(all.emplace(id, line).second, "line " << id << " is there twice");
    }
    BOOST_TEST(all.size() == static_cast<std::size_t>(requests), done.err);
    return all;
  }

  /// Runs under `rules`, of which the requests `culprits` are to fail, and nobody else.
  void check(const std::string& split,
             const std::vector<std::string>& rules,
             const std::vector<int>& culprits,
             const std::string& restarts) {
    static const auto expected = undisturbed();
    std::string script;
    for (const auto& rule : rules) {
      script += "[[fault]]\nrule = \"" + rule + "\"\n";
    }
    BOOST_TEST_CONTEXT(split << "\n" << script) {
      const auto done = run_batch(
          {"--faults", folder.write("poison.toml", script).string(), "--set", "parallel." + split});
      auto wanted = expected;
      for (const auto& [id, line] : results(done)) {
        const auto number = std::stoi(id);
        if (std::find(culprits.begin(), culprits.end(), number) == culprits.end()) {
          BOOST_TEST(line == wanted.at(id), line << " instead of " << wanted.at(id));
        } else {
          const auto text = line.dump();
          BOOST_TEST(text.find("3 times with this request in it, the last time alone")
                         != std::string::npos,
                     text);
        }
      }
      BOOST_TEST(done.err.find(restarts) != std::string::npos, done.err);
    }
  }

  std::string input;
  std::string output = (folder.path() / "out.jsonl").string();
};

constexpr const char* splits[] = {"tensor=2", "pipeline=2"};

} // namespace

BOOST_FIXTURE_TEST_SUITE(poisonous_requests, poison_fixture)

BOOST_AUTO_TEST_CASE(one_that_decodes) {
  for (const auto* split : splits) {
    check(split, {"worker.step_begin rank=1 step=20 request=3 0*kill9"}, {3}, "restarts=3");
    check(split, {"worker.step_begin rank=0 step=20 request=3 0*throw"}, {3}, "restarts=3");
  }
}

BOOST_AUTO_TEST_CASE(one_whose_prompt_is_poisonous) {
  for (const auto* split : splits) {
    check(split, {"worker.step_begin rank=1 request=5 0*kill9"}, {5}, "restarts=3");
  }
}

/// Two of one batch: two deaths with everybody, one of each alone.
BOOST_AUTO_TEST_CASE(two_at_once) {
  for (const auto* split : splits) {
    check(split,
          {"worker.step_begin rank=1 step=20 request=3 0*kill9",
           "worker.step_begin rank=1 step=20 request=6 0*kill9"},
          {3, 6},
          "restarts=4");
  }
}

/// One after the other: more deaths in all than a worker may die.
BOOST_AUTO_TEST_CASE(two_that_follow_each_other_cost_no_worker_its_restarts) {
  check("tensor=2",
        {"worker.step_begin rank=1 step=10 request=3 0*kill9",
         "worker.step_begin rank=1 step=50 request=6 0*kill9"},
        {3, 6},
        "restarts=6");
}

BOOST_AUTO_TEST_CASE(one_that_the_control_process_dies_of) {
  for (const auto* split : splits) {
    check(split, {"executor.before_send step=20 request=3 0*kill9"}, {3}, "");
  }
}

/// More of its ends in all than are allowed without a cause (H-14).
BOOST_AUTO_TEST_CASE(two_that_the_control_process_dies_of_cost_it_no_restarts) {
  check("tensor=2",
        {"executor.before_send step=10 request=3 0*kill9",
         "executor.before_send step=50 request=6 0*kill9"},
        {3, 6},
        "");
}

BOOST_AUTO_TEST_SUITE_END()
