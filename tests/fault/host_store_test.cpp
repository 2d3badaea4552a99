// KV that was copied to host memory outlives workers, control process and vault: requests go on from there, also when fewer
// workers are left. Real processes, killed under load; streams are compared with an undisturbed run.
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <fmt/format.h>

using namespace vdist::testing;

namespace {

constexpr int requests = 6;
constexpr int block_size = 16; // scheduler.block_size
// Tokens of a request between a full block and its copy: steps in flight.
constexpr int on_their_way = 6;
constexpr int again_max = requests * (block_size - 1 + on_their_way);

struct store_fixture : run_fixture {
  std::string input() {
    std::string lines;
    for (int i = 0; i < requests; ++i) {
      lines += fmt::format(
          R"({{"id": "r{}", "prompt": "Once upon a time there was a king who lived by the sea, and every )"
          R"(morning he looked at the ships{}", "seed": {}, "ignore_eos": true, "max_tokens": {}{}}})"
          "\n",
          i,
          std::string(static_cast<std::size_t>(i), '!'), // so not all end a block at the same step
          i,
          120 + i,
          i % 2 == 0 ? R"(, "temperature": 0)" : R"(, "logprobs": 2)");
    }
    return folder.write("in.jsonl", lines).string();
  }

  void configure(const std::string& split, long long bytes, int restarts = 2) {
    config =
        write_config(demo_model,
                     "[cluster]\nisolation = \"process\"\n" + split
                         + "[fault_tolerance]\nrestart_backoff_ms = 0\n"
                         + fmt::format("max_restarts = {}\nkv_host_bytes = {}\n", restarts, bytes));
  }

  /// The report of a run that came through it, its streams the same as undisturbed.
  nlohmann::json survive(const std::string& rules) {
    const auto script = folder.write("faults.toml", rules).string();
    const auto output = (work / "out.jsonl").string();
    const auto done = run({"--input", input(), "--output", output, "--faults", script, "--verify"});
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST_MESSAGE(done.err);
    return nlohmann::json::parse(read(output + ".faults.json"), nullptr, false);
  }

  static int again_of(const nlohmann::json& report) {
    BOOST_REQUIRE(report.is_object());
    const auto again = report.at("tokens_prefilled_again").get<int>();
    BOOST_TEST_MESSAGE("computed again: " << again);
    return again;
  }
};

/// Steps take their time, so that the vault dies in the middle of all streams; and so do the next ones, with the memory.
const std::string vault_dies =
    "[[fault]]\nat = { point = \"worker.step_begin\", rank = 0 }\naction = \"delay(10)\"\n"
    "count = 0\n[[fault]]\nrule = \"vault.take_over 3*kill9\"\n"
    "[[fault]]\nevery_ms = 500\nchoose = [\"kill9 vault\"]\ncount = 1\n";

/// The worker dies in the middle of all streams, and all that follow it while they load.
std::string worker_is_lost(int rank) {
  return fmt::format("[[fault]]\nrule = \"worker.step_begin rank={0} step=80 kill9\"\n"
                     "[[fault]]\nat = {{ point = \"worker.load\", rank = {0} }}\n"
                     "action = \"kill9\"\ncount = 0\n",
                     rank);
}

constexpr long long enough = 64LL << 20;
/// Restarts until their memory is given up.
constexpr int vaults = 4;

} // namespace

BOOST_FIXTURE_TEST_SUITE(a_host_store_of_kv, store_fixture)

BOOST_AUTO_TEST_CASE(costs_a_block_per_request_when_the_memory_is_lost) { // S-12, X-14
  for (const std::string split : {"", "[parallel]\ntensor = 2\n", "[parallel]\npipeline = 2\n"}) {
    BOOST_TEST_CONTEXT(split) {
      configure(split, enough, vaults);
      const auto again = again_of(survive(vault_dies));
      BOOST_TEST(again > 0);
      BOOST_TEST(again <= again_max);
    }
  }
}

BOOST_AUTO_TEST_CASE(is_what_makes_the_difference) {
  configure("", 0, vaults);
  BOOST_TEST(again_of(survive(vault_dies)) > again_max);
}

BOOST_AUTO_TEST_CASE(serves_a_cluster_of_fewer_workers) { // W-5
  for (const std::string split : {"[parallel]\ntensor = 2\n",
                                  "[parallel]\npipeline = 2\n",
                                  "[parallel]\ntensor = 2\npipeline = 2\n"}) {
    BOOST_TEST_CONTEXT(split) {
      configure(split, enough);
      const auto again = again_of(survive(worker_is_lost(1)));
      BOOST_TEST(again > 0);
      BOOST_TEST(again <= again_max);
    }
  }
}

BOOST_AUTO_TEST_CASE(that_is_too_small_is_refused_with_its_reason) {
  configure("", 5000);
  const auto done = run({"--prompt", "Once", "--max-tokens", "2"});
  BOOST_TEST(done.exit_code == 2, done.err);
  BOOST_TEST(done.err.find("fault_tolerance.kv_host_bytes: no room for a block of")
                 != std::string::npos,
             done.err);
}

BOOST_AUTO_TEST_SUITE_END()
