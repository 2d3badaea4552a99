#include "kernels/checksum/checksum.hpp"

#include "tests/kernels/checksum/checksum_cases.hpp"

#include "kernels/cpu/cpu_backend.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

std::uint64_t sum_of(const std::vector<std::byte>& data) {
  static const auto ops = make_cpu_backend({.max_tokens = 1});
  std::uint64_t sum = 1;
  ops->checksum({.data = data.data(), .bytes = data.size(), .sum = &sum});
  return sum;
}

} // namespace

BOOST_AUTO_TEST_SUITE(checksum)

// Values that other builds and devices must find, too.
BOOST_AUTO_TEST_CASE(has_the_values_of_its_definition) {
  BOOST_TEST(sum_of({}) == checksum_length(0));
  const std::vector<std::byte> nine{
      std::byte{1}, {}, {}, {}, {}, {}, {}, std::byte{2}, std::byte{3}};
  BOOST_TEST(sum_of(nine)
             == checksum_mix(0x0200000000000001U, 0) + checksum_mix(3, 1) + checksum_length(9));
  BOOST_TEST(checksum_mix(0, 0) == 0U);
  BOOST_TEST(checksum_mix(1, 0) == (0xD6E8FEB86659FD93U ^ 0xD6E8FEB86659FD93U >> 29U));
}

// H-1
BOOST_AUTO_TEST_CASE(every_single_bit_changes_it) {
  auto data = noise(203);
  std::set<std::uint64_t> seen{sum_of(data)};
  for (std::size_t bit = 0; bit < data.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1U << bit % 8);
    data[bit / 8] ^= mask;
    seen.insert(sum_of(data));
    data[bit / 8] ^= mask;
  }
  BOOST_TEST(seen.size() == data.size() * 8 + 1);
}

BOOST_AUTO_TEST_CASE(places_and_length_count) {
  const auto data = noise(64);
  auto turned = data;
  std::rotate(turned.begin(), turned.begin() + 8, turned.end());
  BOOST_TEST(sum_of(turned) != sum_of(data));
  auto longer = data;
  longer.resize(65); // a zero more
  BOOST_TEST(sum_of(longer) != sum_of(data));
}

BOOST_AUTO_TEST_SUITE_END()
