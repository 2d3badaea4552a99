// What a layer puts out in a running engine: the same bits as the model alone, whatever the split, the chunks and the deaths
// of workers; and no token is different for it.
#include "tests/actors/system/watched_rows.hpp"
#include "tests/fault/holdings.hpp"
#include "tests/support/engine_driver.hpp"
#include "tests/support/isolation_under_test.hpp"
#include "tests/support/workload.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

using actors::layer_watch_config;

/// Two stages of four layers, two tensor ranks each; prompts in chunks of at most 7 tokens.
const std::vector<std::string>& overrides() {
  static const std::vector<std::string> all{"parallel.tensor=2",
                                            "parallel.pipeline=2",
                                            "scheduler.prefill_chunk=7",
                                            "scheduler.prefix_cache=false"};
  return all;
}

void check_rows(const row_table& rows, const ended_request& of, std::int32_t layer) {
  const auto expected = reference_rows(of.tokens, layer + 1);
  std::size_t wrong = 0;
  for (std::size_t position = 0; position < expected.size(); ++position) {
    const auto found = rows.find({of.id, static_cast<std::int32_t>(position)});
    wrong += found == rows.end() || found->second != expected[position] ? 1 : 0;
  }
  BOOST_TEST(wrong == 0U,
             "request " << of.id << " layer " << layer << ": of " << expected.size()
                        << " positions " << wrong << " are missing or different");
}

std::string refusal(engine_driver& driver, const layer_watch_config& config, errc code) {
  const auto refused = driver.get().watch_layer(config);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == code), refused.error().context);
  return refused.error().context;
}

} // namespace

BOOST_AUTO_TEST_SUITE(a_watched_layer)

BOOST_AUTO_TEST_CASE(puts_out_what_the_model_computes_and_changes_no_token) { // W-1
  engine_driver driver(tiny_tales_config(), overrides());
  BOOST_TEST(driver.get().has_processes() == (isolation_under_test() == "process"));
  const auto before = run(driver.get(), greedy_requests());
  row_table first_rows;
  row_table last_rows;
  {
    const auto first = watch(driver, {.layer = 2, .rank = 1, .rows_max = 4096});
    const auto last = watch(driver, {.layer = 5, .rank = 2, .rows_max = 4096});
    const auto during = run(driver.get(), greedy_requests());
    check_same_tokens(during, before);
    read_all(*first, 2, first_rows);
    read_all(*last, 5, last_rows);
    BOOST_TEST(first->lost() == 0U);
    BOOST_TEST(last->lost() == 0U);
    for (const auto& request : during) {
      check_rows(first_rows, request, 2);
      check_rows(last_rows, request, 5);
    }
  }
  check_same_tokens(run(driver.get(), greedy_requests()), before);
}

BOOST_AUTO_TEST_CASE(may_be_each_one_of_a_rank_and_the_embedding) {
  engine_driver driver(tiny_tales_config(), overrides());
  for (const std::int32_t layer : {0, 3, 4, 6}) { // the first and the last ones of stages
    const auto watching =
        watch(driver, {.layer = layer, .rank = layer < 4 ? 0 : 3, .rows_max = 256});
    const auto done = run(driver.get(), {request_of("Once upon a time", 6)});
    row_table rows;
    read_all(*watching, layer, rows);
    check_rows(rows, done.front(), layer);
  }
  const auto watching = watch(driver, {.layer = exec::embedding_output, .rank = 0});
  const auto done = run(driver.get(), {request_of("Once upon a time there was a a a", 6)});
  row_table rows;
  read_all(*watching, exec::embedding_output, rows);
  const auto& tokens = done.front().tokens;
  BOOST_REQUIRE(rows.size() + 1 == tokens.size());
  std::map<token_id, floats> by_token; // without positions, the row of a token is always the same
  for (const auto& [at, values] : rows) {
    const auto [found, is_new] =
        by_token.try_emplace(tokens[static_cast<std::size_t>(at.second)], values);
    BOOST_TEST((is_new || found->second == values));
  }
  BOOST_TEST(by_token.size() < rows.size(), "a token came twice");
}

BOOST_AUTO_TEST_CASE(stays_watched_when_its_worker_dies) { // W-2
  engine_driver driver(tiny_tales_config(), overrides());
  const auto action =
      driver.get().has_processes() ? failpoint_action::kill9 : failpoint_action::kill_actor;
  const auto request = request_of("Once upon a time", 60);
  const auto expected = run(driver.get(), {request});
  for (const char* point : {"worker.step_begin", "worker.step_end"}) {
    for (const std::int32_t victim : {1, 2}) { // the watched one, and one whose death it survives
      const auto watching = watch(driver, {.layer = 1, .rank = 1, .rows_max = 4096});
      const auto restarts = driver.get().status().restarts;
      BOOST_REQUIRE(
          driver.get().points().arm({.point = point, .rank = victim, .action = action, .nth = 20}));
      const auto done = run(driver.get(), {request});
      check_same_tokens(done, expected);
      BOOST_TEST(driver.get().status().restarts > restarts);
      row_table rows;
      read_all(*watching, 1, rows);
      BOOST_TEST(watching->lost() == 0U);
      check_rows(rows, done.front(), 1);
      driver.get().points().clear();
    }
  }
}

BOOST_AUTO_TEST_CASE(waits_for_no_reader) { // W-1
  engine_driver driver(tiny_tales_config(), overrides());
  const auto expected = run(driver.get(), {request_of("Once upon a time", 18)});
  const auto watching = watch(driver, {.layer = 3, .rank = 0, .rows_max = 4});
  const auto done = run(driver.get(), {request_of("Once upon a time", 18)});
  check_same_tokens(done, expected);
  row_table rows;
  read_all(*watching, 3, rows);
  BOOST_TEST(rows.size() == 4U, "the oldest ones");
  BOOST_TEST(rows.begin()->first.second == 0);
  BOOST_TEST(watching->lost() == done.front().tokens.size() - 1 - 4);
  const auto more = run(driver.get(), {request_of("Once upon a time", 1)});
  rows.clear();
  read_all(*watching, 3, rows);
  BOOST_TEST(rows.size() == std::min<std::size_t>(4, more.front().tokens.size() - 1));
}

BOOST_AUTO_TEST_CASE(leaves_nothing_with_its_worker) { // R-3 of layer_rows.hpp
  engine_driver driver(tiny_tales_config(), overrides());
  const auto maps_after = [&driver](int watches) {
    for (int i = 0; i < watches; ++i) {
      const auto watching = watch(driver, {.layer = i % 4, .rank = 0});
      static_cast<void>(run(driver.get(), {request_of("Once", 1)}));
      BOOST_TEST(watching->next(0s).value().has_value());
    }
    static_cast<void>(run(driver.get(), {request_of("Once", 1)})); // it looks at the orders again
    const auto pid = driver.get().details().replicas.front().workers.front().pid;
    return holdings_of(pid == 0 ? ::getpid() : pid).shared_maps;
  };
  const auto maps = maps_after(1);
  BOOST_TEST(maps_after(20) == maps);
}

BOOST_AUTO_TEST_CASE(that_does_not_exist_is_refused_with_what_is_legal) {
  engine_driver driver(tiny_tales_config(), overrides());
  BOOST_TEST(refusal(driver, {.layer = 0, .rank = 4}, errc::invalid_argument)
             == "watch layer: no such rank (asked=4 legal=0 to 3)");
  BOOST_TEST(refusal(driver, {.layer = 0, .rank = -1}, errc::invalid_argument)
             == "watch layer: no such rank (asked=-1 legal=0 to 3)");
  BOOST_TEST(refusal(driver, {.layer = 4, .rank = 1}, errc::invalid_argument)
             == "watch layer: rank 1 does not have this layer (asked=4 legal=-1 to 3)");
  BOOST_TEST(refusal(driver, {.layer = -1, .rank = 2}, errc::invalid_argument)
             == "watch layer: rank 2 does not have this layer (asked=-1 legal=4 to 7)");
  BOOST_TEST(refusal(driver, {.layer = 8, .rank = 3}, errc::invalid_argument)
             == "watch layer: rank 3 does not have this layer (asked=8 legal=4 to 7)");
  const auto watching = watch(driver, {.layer = 7, .rank = 3});
  BOOST_TEST(refusal(driver, {.layer = 6, .rank = 3}, errc::invalid_argument)
             == "watch layer: rank 3 is watched already (layer=7); one watch per rank");
}

BOOST_AUTO_TEST_CASE(is_not_to_be_had_of_the_sim_device) {
  engine_driver driver(sim_config());
  BOOST_TEST(refusal(driver, {}, errc::unsupported)
             == "watch layer: the sim device computes no activations (legal: cpu, cuda)");
}

BOOST_AUTO_TEST_SUITE_END()
