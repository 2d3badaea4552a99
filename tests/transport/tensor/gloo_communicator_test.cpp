// The Gloo communicator between processes, over the loopback interface. No case runs it in threads
// of one process: nobody uses it so.
#include "transport/tensor/gloo_communicator.hpp"

#include "tests/transport/tensor/dying_ranks.hpp"

#include <filesystem>
#include <fstream>

#if defined(__SANITIZE_THREAD__)
// libgloo is not instrumented: the sanitizer misses the reference counts by which the destructor of
// a buffer waits for Gloo's thread.
extern "C" const char* __tsan_default_suppressions() { // NOLINT(readability-identifier-naming)
  return "race:libgloo.so\nrace:gloo::transport::UnboundBuffer\n";
}
#endif

using namespace vdist;
using namespace vdist::testing;

namespace {

communicator_kind gloo_kind() {
  return {.region_bytes =
              [](const group_shape& shape) { return tensor::gloo_rendezvous_bytes(shape.size); },
          .join =
              [](const group_place& place) {
                return tensor::make_gloo_communicator(
                    place.region,
                    {.rank = place.rank,
                     .size = place.shape.size,
                     .one_shot_floats_max = place.shape.one_shot_floats_max,
                     .timeout = place.shape.timeout,
                     .stop = place.stop},
                    frame::wait_policy({.spin_budget = place.shape.spin_budget, .slice_max = 10s},
                                       group_clock));
              }};
}

tested_family gloo_family() {
  return {.kind = gloo_kind(),
          .host = rank_host::process,
          .sizes = {1, 2, 3, 4},
          .random_operations = 60,
          .impatience = 50ms};
}

} // namespace

VDIST_COMMUNICATOR_CONFORMANCE(gloo_conformance, gloo_family())

BOOST_AUTO_TEST_SUITE(gloo_communicator_suite)

// SIGPIPE has its default action in these processes: writing to a dead peer must not end them.
BOOST_AUTO_TEST_CASE(the_group_survives_kills_in_the_middle_of_operations) { // T-3
  check_killed_ranks(gloo_kind(), {.size = mortal_group_size, .slot_floats = 30});
  check_killed_ranks(gloo_kind(), {.size = mortal_group_size, .slot_floats = 20000});
}

BOOST_AUTO_TEST_CASE(survivors_without_a_fence_notice_the_lost_connection) {
  const auto errors = errors_without_a_fence(gloo_kind(), {.size = mortal_group_size});
  BOOST_TEST((errors & ~mortal_body::bit_of(errc::aborted)) == mortal_body::bit_of(errc::closed));
}

BOOST_AUTO_TEST_CASE(a_stopped_process_that_goes_on_later_changes_nothing) { // T-3
  check_late_ranks(gloo_kind(), {.size = mortal_group_size, .slot_floats = 5000}, 6);
}

BOOST_AUTO_TEST_CASE(a_fence_ends_the_wait_for_a_peer_that_does_not_connect) {
  // Rank 1 leaves its address and does no more. Which of the two connects to the other is chance,
  // by their ports: several epochs see both.
  constexpr std::uint32_t epochs = 8;
  run_group(rank_host::process, gloo_kind(), {.size = 2}, [](test_rank& rank) {
    const auto group = rank.join();
    auto& begun = rank.board().counters[0];
    auto& ended = rank.board().counters[1];
    for (std::uint32_t now = 1; now <= epochs; ++now) {
      rank.expect(group->start_epoch(epoch(now)), "start_epoch");
      if (rank.rank() == 0) {
        ++begun;
        const auto start = group_clock.now();
        rank.expect_error(group->barrier(), errc::aborted, "barrier");
        rank.expect(group_clock.now() - start < 5s, "a fence is no deadline");
        ++ended;
      } else {
        rank.expect(comes_true([&] { return begun == now; }), "rank 0 begins");
        // Nobody can see that rank 0 is within Gloo's wait: give it the time to get there.
        comes_true([] { return false; }, 20ms);
        rank.board().stop.raise(epoch(now + 1));
        rank.expect(comes_true([&] { return ended == now; }), "rank 0 ends");
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(the_thread_of_gloo_has_sigpipe_blocked) {
  run_group(rank_host::process, gloo_kind(), {.size = 1}, [](test_rank& rank) {
    const auto group = rank.join();
    int threads = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream status(task.path() / "status");
      const bool is_main = task.path().filename() == std::to_string(getpid());
      for (std::string line; std::getline(status, line);) {
        if (!is_main && line.starts_with("SigBlk:")) {
          const auto blocked = std::stoull(line.substr(7), nullptr, 16);
          rank.expect((blocked >> (SIGPIPE - 1) & 1U) == 1, "SIGPIPE is blocked");
          ++threads;
        }
      }
    }
    rank.expect(threads >= 1, "Gloo has a thread");
  });
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_address) {
  test_region region(tensor::gloo_rendezvous_bytes(2));
  const frame::wait_policy waits({}, group_clock);
  const auto made = tensor::make_gloo_communicator(
      region.span(), {.rank = 0, .size = 2, .address = "an interface"}, waits);
  BOOST_REQUIRE(!made);
  BOOST_CHECK(made.error().code == errc::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
