// Collectives through staging memory, in as many pieces as it takes. The device is the CPU, the ranks' own communicator the
// shared one.
#include "model/exec/staged_links.hpp"

#include "tests/transport/tensor/shared_family.hpp"

#include "kernels/cpu/cpu_backend.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist;
using namespace vdist::testing;

/// Floats of a rank that pass through the staging memory at once, in a group of `ranks`.
constexpr std::size_t gathered_at_once(std::size_t ranks) {
  return (std::size_t{8} << 20U) / sizeof(float) / (ranks + 1);
}

} // namespace

BOOST_AUTO_TEST_SUITE(staged_links)

BOOST_AUTO_TEST_CASE(gathers_rows_in_pieces_of_the_staging_memory) {
  BOOST_TEST(exec::staging_area::room() == std::size_t{8} << 20U);
  for (const std::int32_t size : {2, 3}) {
    shared_family(rank_host::thread)
        .run({.size = size, .slot_floats = 1U << 16U}, [](test_rank& rank) {
          const auto inner = rank.join();
          const auto device = kernels::make_cpu_backend({.max_tokens = 1});
          exec::host_wait wait(device->queue(), 10s);
          const auto group = exec::stage_communicator(inner.get(), device->queue(), wait);
          rank.expect(group->start_epoch(epoch(1)), "start_epoch");
          const checked_operations run(rank, *group);
          const auto most = gathered_at_once(static_cast<std::size_t>(rank.size()));
          run.all_gather(1, 0, 0);
          run.all_gather(2, 3, 0);
          run.all_gather(3, 1, 5);
          run.all_gather(4, 7, 33);
          run.all_gather(5, 1, most);         // one row in one piece
          run.all_gather(6, 2, most + 1);     // each in two
          run.all_gather(7, 3, most / 2);     // two rows at once, then one
          run.all_gather(8, 3, most / 2 + 1); // one at once
          std::vector<float> in(3), out(in.size() * static_cast<std::size_t>(rank.size()));
          rank.expect_error(
              group->all_gather(in, out, 2), errc::invalid_argument, "a row and a half");
          run.all_gather(9, 2, 3); // still in step
        });
  }
}

BOOST_AUTO_TEST_SUITE_END()
