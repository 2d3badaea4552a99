#include "transport/tensor/tree_sum.hpp"

#include "tests/transport/tensor/group_fixture.hpp"

using namespace vdist::testing;
using vdist::tensor::tree_sum;

BOOST_AUTO_TEST_SUITE(tree_sum_suite)

namespace {

struct summed {
  std::vector<float> got;
  std::vector<std::vector<float>> parts;
};

summed sum_of(std::int32_t size, std::size_t offset, std::size_t count) {
  summed s;
  std::vector<const float*> addresses;
  for (std::int32_t r = 0; r < size; ++r) {
    s.parts.push_back(contribution(r, count, offset + count));
  }
  for (const auto& part : s.parts) {
    addresses.push_back(part.data());
  }
  s.got.resize(count);
  tree_sum(addresses, offset, count, s.got.data());
  return s;
}

} // namespace

BOOST_AUTO_TEST_CASE(adds_in_the_promised_order_bit_for_bit) { // T-2
  for (std::int32_t size = 1; size <= 17; ++size) {
    for (const std::size_t count : {0U, 1U, 7U, 33U, 512U, 513U, 1100U}) {
      for (const std::size_t offset : {0U, 3U}) {
        const auto s = sum_of(size, offset, count);
        for (std::size_t i = 0; i < count; ++i) {
          const float expected = tree_of(s.parts, 0, s.parts.size(), offset + i);
          BOOST_REQUIRE_MESSAGE(has_same_bits(std::span(&expected, 1), std::span(&s.got[i], 1)),
                                "size " << size << " count " << count << " i " << i);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_order_is_the_one_written_in_the_contract) { // T-2, spelled out
  const auto three = sum_of(3, 0, 64);
  const auto eight = sum_of(8, 0, 64);
  for (std::size_t i = 0; i < 64; ++i) {
    const auto& a = three.parts;
    BOOST_TEST(three.got[i] == (a[0][i] + a[1][i]) + a[2][i]);
    const auto& p = eight.parts;
    BOOST_TEST(eight.got[i]
               == ((p[0][i] + p[1][i]) + (p[2][i] + p[3][i]))
                      + ((p[4][i] + p[5][i]) + (p[6][i] + p[7][i])));
  }
}

BOOST_AUTO_TEST_CASE(is_close_to_the_sum_in_double) {
  for (const std::int32_t size : {2, 3, 5, 8}) {
    const auto s = sum_of(size, 0, 300);
    for (std::size_t i = 0; i < s.got.size(); ++i) {
      double exact = 0;
      double magnitude = 0;
      for (const auto& part : s.parts) {
        exact += static_cast<double>(part[i]);
        magnitude += std::abs(static_cast<double>(part[i]));
      }
      // Three levels of addition, each within half a unit of 2^-23.
      BOOST_TEST(std::abs(static_cast<double>(s.got[i]) - exact) <= 3 * magnitude * 0x1p-24);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
