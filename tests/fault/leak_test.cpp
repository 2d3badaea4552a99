// What hundreds of recoveries leave behind: nothing. One worker is killed again and again under load; vdist-run, the vault, the
// control process and the worker that survives hold the same descriptors, threads and shared memory afterwards, and no more
// memory. 60 recoveries; 500 with VDIST_TEST_LONG=1.
#include "tests/fault/cluster_talk.hpp"
#include "tests/fault/holdings.hpp"
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 30s;
/// What is allocated once, and pools that find their size, belong to the beginning.
constexpr std::uint64_t warm_up = 20;
constexpr std::uint64_t requests_apart = 3;
/// Of resident memory.
constexpr double growth_max = 0.02;

std::uint64_t recoveries() {
  return std::getenv("VDIST_TEST_LONG") != nullptr ? 500 : 60;
}

struct leak_fixture : run_fixture {
  leak_fixture() {
    config = write_config(demo_model,
                          "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n"
                          "[fault_tolerance]\nmax_restarts = 10000\nrestart_window_s = 1\n"
                          "restart_backoff_ms = 0\n[scheduler]\nmax_sequences = 2\n");
    std::string lines;
    for (int i = 0; i < 8000; ++i) { // it is drained long before
      lines += "{\"prompt\": \"One morning\", \"seed\": " + std::to_string(i)
               + ", \"max_tokens\": 120, \"ignore_eos\": true}\n";
    }
    input = folder.write("in.jsonl", lines).string();
  }

  /// The next step of worker 1 is its last. Returns when its successor works.
  static void
  recover_once(const process& program, const cluster_talk& cluster, std::uint64_t number) {
    BOOST_REQUIRE(cluster.clear());
    BOOST_REQUIRE(cluster.arm("worker.step_begin rank=1 kill9"));
    BOOST_REQUIRE_MESSAGE(wait_while_running(program,
                                             patience,
                                             [&cluster, number] {
                                               const auto now = cluster.status();
                                               return now && now->replicas.at(0).restarts >= number
                                                      && now->replicas.at(0).state == "running";
                                             }),
                          "recovery " << number << "\n"
                                      << program.err());
  }

  /// Of everybody who lives on.
  static std::map<std::string, holdings> survivors_of(const process& program) {
    auto children = children_of(program.pid());
    children.erase("worker 1");
    children["run"] = program.pid();
    std::map<std::string, holdings> all;
    for (const auto& [name, pid] : children) {
      all[name] = holdings_of(pid);
    }
    return all;
  }

  static bool holds_no_more(const std::map<std::string, holdings>& before,
                            const std::map<std::string, holdings>& after) {
    return std::all_of(before.begin(), before.end(), [&after](const auto& one) {
      const auto found = after.find(one.first);
      return found != after.end() && found->second.descriptors <= one.second.descriptors
             && found->second.threads <= one.second.threads
             && found->second.shared_maps <= one.second.shared_maps;
    });
  }

  std::string input;
};

void print(const std::string& when, const std::map<std::string, holdings>& all) {
  for (const auto& [name, one] : all) {
    fmt::print("{:<18} {:<9} {:>4} descriptors {:>4} threads {:>5} shared maps {:>8} KiB\n",
               when,
               name,
               one.descriptors,
               one.threads,
               one.shared_maps,
               one.resident / 1024);
  }
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(leaks, leak_fixture)

BOOST_AUTO_TEST_CASE(recoveries_leave_nothing_behind) {
  const auto output = (work / "out.jsonl").string();
  auto program = start({"--input",
                        input,
                        "--output",
                        output,
                        "--quiet",
                        "--set", // 20 blocks
                        "device.kv_cache_bytes=655360"});
  const cluster_talk cluster(program.pid());
  BOOST_REQUIRE_MESSAGE(
      wait_while_running(program, patience, [&cluster] { return cluster.status().has_value(); }),
      program.err());
  for (std::uint64_t i = 1; i <= warm_up; ++i) {
    recover_once(program, cluster, i);
    // Every bank of the exchange and every block of the cache has been in use.
    BOOST_REQUIRE(wait_while_running(program, patience, [&cluster, i] {
      const auto now = cluster.status();
      return now && now->finished >= requests_apart * i;
    }));
  }
  const auto before = survivors_of(program);
  for (std::uint64_t i = warm_up + 1; i <= warm_up + recoveries(); ++i) {
    recover_once(program, cluster, i);
  }
  auto after = survivors_of(program);
  wait_while_running(
      program, patience, [&before, &after, &program] { // what ends, ends a moment later
        after = survivors_of(program);
        return holds_no_more(before, after);
      });
  print("before", before);
  print(fmt::format("{} recoveries", recoveries()), after);
  BOOST_TEST(before.size() == 4U);
  BOOST_TEST(after.size() == before.size(), "processes");
  for (const auto& [name, was] : before) {
    const auto& is = after[name];
    BOOST_TEST(is.descriptors <= was.descriptors, name);
    BOOST_TEST(is.threads <= was.threads, name);
    BOOST_TEST(is.shared_maps <= was.shared_maps, name);
    BOOST_TEST(static_cast<double>(is.resident)
                   <= static_cast<double>(was.resident) * (1 + growth_max),
               name << ": " << was.resident << " bytes before, " << is.resident << " after");
  }
  BOOST_REQUIRE(cluster.clear());
  BOOST_TEST(cluster.drain());
  const auto done = wait_for_end(program, patience);
  BOOST_REQUIRE(done.has_value());
  BOOST_TEST(done->exit_code == 0, done->err);
}

BOOST_AUTO_TEST_SUITE_END()
