// Watched layers in clusters whose workers drive GPUs: the CPU's rows but for rounding, the tokens of steps that are replayed
// from their recordings, whatever happens to the worker.
#include "tests/actors/system/watched_rows.hpp"
#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/support/workload.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::testing;
using kernels::testing::has_gpu;
using kernels::testing::has_gpus;

namespace {

std::vector<std::string> on_gpus(const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{"device.kind=cuda",
                               "model.dtype=float32",
                               "scheduler.prefill_chunk=7",
                               "scheduler.prefix_cache=false"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

double largest(const floats& row) {
  double found = 0;
  for (const auto value : row) {
    found = std::max(found, static_cast<double>(std::abs(value)));
  }
  return found;
}

/// Every position is there, and no number is off by more than a thousandth of the largest of its row.
void check_near(const row_table& rows, const ended_request& of, std::int32_t layer) {
  const auto expected = reference_rows(of.tokens, layer + 1, kernels::dtype::float32);
  for (std::size_t position = 0; position < expected.size(); ++position) {
    const auto found = rows.find({of.id, static_cast<std::int32_t>(position)});
    BOOST_REQUIRE_MESSAGE(found != rows.end(),
                          "layer " << layer << ": no row of position " << position);
    auto difference = found->second;
    for (std::size_t i = 0; i < difference.size(); ++i) {
      difference[i] -= expected[position][i];
    }
    BOOST_TEST(largest(difference) <= 1e-3 * largest(expected[position]),
               "layer " << layer << ", position " << position);
  }
}

/// Two layers, one after the other, the same rank or not; workers die meanwhile.
void check_watches(const std::vector<std::string>& overrides, std::int32_t last_rank) {
  engine_driver driver(tiny_tales_config(), on_gpus(overrides));
  const auto action =
      driver.get().has_processes() ? failpoint_action::kill9 : failpoint_action::kill_actor;
  const auto request = request_of("Once upon a time", 60);
  const auto expected = run(driver.get(), {request});
  for (const auto& [layer, rank] : {std::pair{2, 0}, std::pair{6, last_rank}}) {
    const auto watching = watch(driver, {.layer = layer, .rank = rank, .rows_max = 4096});
    for (const auto victim : {-1, rank}) {
      const auto restarts = driver.get().status().restarts;
      if (victim >= 0) {
        BOOST_REQUIRE(driver.get().points().arm(
            {.point = "worker.step_begin", .rank = victim, .action = action, .nth = 20}));
      }
      const auto done = run(driver.get(), {request});
      check_same_tokens(done, expected);
      BOOST_TEST((driver.get().status().restarts > restarts) == (victim >= 0));
      row_table rows;
      read_all(*watching, layer, rows);
      BOOST_TEST(watching->lost() == 0U);
      check_near(rows, done.front(), layer);
      driver.get().points().clear();
    }
  }
  check_same_tokens(run(driver.get(), {request}), expected);
}

} // namespace

BOOST_AUTO_TEST_SUITE(a_watched_layer_on_gpus, *boost::unit_test::precondition(has_gpu))

BOOST_AUTO_TEST_CASE(of_one_worker) {
  check_watches({}, 0);
}

BOOST_AUTO_TEST_CASE(of_ranks_that_share_it, *boost::unit_test::precondition(has_gpus(2))) {
  check_watches({"parallel.tensor=2"}, 1);
}

BOOST_AUTO_TEST_CASE(of_stages, *boost::unit_test::precondition(has_gpus(2))) {
  check_watches({"parallel.pipeline=2"}, 1);
}

BOOST_AUTO_TEST_SUITE_END()
