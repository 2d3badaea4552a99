// Ranks that compute something wrong and do not know it, and devices that are lost: what the others notice of it, and what
// follows. On the CPU; on GPUs the same goes by config/faults/gpu-group.toml.
#include "tests/fault/fault_workload.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr auto flips = failpoint_action::flip_bit;

} // namespace

BOOST_AUTO_TEST_SUITE(wrong_results)

/// Nobody knows which of them erred: the step is computed again, and nobody is replaced.
BOOST_AUTO_TEST_CASE(of_one_of_two_ranks_repeat_the_step) {
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    for (const std::int64_t step : {1, 5}) {
      const auto status =
          check({.tensor = 2}, {worker_fault("worker.step_begin", flips, rank, step)});
      BOOST_TEST(status.restarts == 0U);
    }
  }
}

/// Both are replaced: one of them may err again and again.
BOOST_AUTO_TEST_CASE(of_one_of_two_ranks_twice_replace_both) {
  const auto status = check({.tensor = 2},
                            {worker_fault("worker.step_begin", flips, 1, 3),
                             worker_fault("worker.step_begin", flips, 1, 9)});
  BOOST_TEST(status.restarts == 2U);
}

/// The majority is right.
BOOST_AUTO_TEST_CASE(of_one_of_four_ranks_replace_it) {
  for (const std::int32_t rank : {0, 2}) {
    const auto status = check({.tensor = 4}, {worker_fault("worker.step_begin", flips, rank, 4)});
    BOOST_TEST(status.restarts == 1U);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(a_lost_device)

BOOST_AUTO_TEST_CASE(costs_its_replica_and_moves_the_requests) { // V-11
  const auto status =
      check({.data = 2}, {worker_fault("worker.step_begin", failpoint_action::device_lost, 0, 4)});
  BOOST_TEST(status.restarts == 0U, "it is not tried again");
}

BOOST_AUTO_TEST_SUITE_END()
