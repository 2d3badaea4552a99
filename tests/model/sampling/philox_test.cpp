#include "model/sampling/philox.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist::sampling;

// Known answers published with the Random123 library.
BOOST_AUTO_TEST_CASE(reproduces_the_published_answers) {
  const philox_block zeros{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const philox_block ones{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  const philox_block pi{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  BOOST_TEST((philox({0, 0, 0, 0}, 0) == zeros));
  BOOST_TEST(
      (philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff) == ones));
  BOOST_TEST((philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) == pi));
}

BOOST_AUTO_TEST_CASE(uniform_numbers_fill_the_unit_interval_evenly) {
  std::array<int, 10> bins{};
  for (std::uint64_t position = 0; position < 100000; ++position) {
    const double u = uniform(42, position);
    BOOST_REQUIRE(u >= 0 && u < 1);
    ++bins[static_cast<std::size_t>(u * 10)];
  }
  for (const int count : bins) {
    BOOST_TEST(std::abs(count - 10000) < 400); // about four standard deviations
  }
}
