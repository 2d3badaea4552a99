// The shared communicator between processes that map the region at different addresses and die, or
// stop and go on, in the middle of operations.
#include "tests/transport/tensor/dying_ranks.hpp"
#include "tests/transport/tensor/shared_family.hpp"

using namespace vdist;
using namespace vdist::testing;

VDIST_COMMUNICATOR_CONFORMANCE(shared_process_conformance, shared_family(rank_host::process))

BOOST_AUTO_TEST_SUITE(shared_processes_suite)

namespace {

/// Copies of 64 KB: a process is often stopped in the middle of one.
const group_shape long_copies{
    .size = mortal_group_size, .slot_floats = 16384, .one_shot_floats_max = 16384};
const group_shape long_copies_in_two{
    .size = mortal_group_size, .slot_floats = 16384, .one_shot_floats_max = 0};

} // namespace

BOOST_AUTO_TEST_CASE(the_group_survives_kills_in_the_middle_of_operations) { // T-3, X-1
  check_killed_ranks(shared_kind(), {.size = mortal_group_size, .slot_floats = 30});
  check_killed_ranks(shared_kind(), long_copies_in_two);
}

BOOST_AUTO_TEST_CASE(survivors_without_a_fence_end_at_their_deadline) {
  const auto errors =
      errors_without_a_fence(shared_kind(), {.size = mortal_group_size, .timeout = 100ms});
  BOOST_TEST(errors == mortal_body::bit_of(errc::timed_out));
}

BOOST_AUTO_TEST_CASE(a_stopped_process_that_goes_on_later_changes_nothing) { // T-3, X-1
  check_late_ranks(shared_kind(), long_copies, 12);
  check_late_ranks(shared_kind(), long_copies_in_two, 12);
}

BOOST_AUTO_TEST_SUITE_END()
