// Time of one all_reduce_sum, one-shot and two-shot, by size of the group and of the data. Prints
// the median, microseconds: choose one_shot_floats_max where the columns cross.
#include "tests/transport/tensor/group_fixture.hpp"

#include "transport/tensor/shared_communicator.hpp"

#include <algorithm>
#include <iostream>

using namespace vdist;
using namespace vdist::testing;

namespace {

double median_us(std::int32_t size, std::size_t floats, std::size_t one_shot_floats_max) {
  test_group group({.size = size,
                    .slot_floats = std::size_t{1} << 18U,
                    .one_shot_floats_max = one_shot_floats_max,
                    .waits = {.spin_budget = 200us}});
  group.start_all(epoch(1));
  std::vector<double> times;
  group.run([&](tensor::communicator& member) {
    std::vector<float> data(floats, 1.0F);
    const int rounds = floats > 100000 ? 30 : 500;
    for (int i = 0; i < rounds; ++i) {
      const auto start = group_clock.now();
      if (!member.all_reduce_sum(data)) {
        return;
      }
      const std::chrono::duration<double, std::micro> took = group_clock.now() - start;
      if (member.rank() == 0) {
        times.push_back(took.count());
      }
    }
  });
  BOOST_REQUIRE(!times.empty());
  std::nth_element(
      times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

} // namespace

BOOST_AUTO_TEST_CASE(all_reduce_times) {
  for (const std::int32_t size : {2, 4, 8}) {
    for (const std::size_t floats : {256U, 1024U, 4096U, 16384U, 65536U, 262144U, 1048576U}) {
      std::cout << "size " << size << ", " << floats * sizeof(float) << " bytes: one-shot "
                << median_us(size, floats, floats) << " us, two-shot " << median_us(size, floats, 0)
                << " us\n";
    }
  }
}
