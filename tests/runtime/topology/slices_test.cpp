#include "runtime/topology/slices.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace vdist::topology;

BOOST_AUTO_TEST_SUITE(slices)

// T-3
BOOST_AUTO_TEST_CASE(even_slices_cover_everything_once) {
  for (const std::int32_t size : {1, 2, 3, 8}) {
    std::int32_t next = 0;
    for (std::int32_t rank = 0; rank < size; ++rank) {
      const slice s = even_slice(24, rank, size);
      BOOST_TEST(s.first == next);
      next = s.last();
    }
    BOOST_TEST(next == 24);
  }
}

BOOST_AUTO_TEST_CASE(vocabulary_is_padded_so_that_every_size_divides_it) {
  BOOST_TEST(padded_vocabulary(512, 2) == 512);
  BOOST_TEST(padded_vocabulary(513, 2) == 576);
  BOOST_TEST(padded_vocabulary(151936, 3) == 152064);
  for (std::int32_t size = 1; size <= 64; ++size) {
    for (const std::int32_t vocabulary : {1, 63, 64, 32000, 128256}) {
      const std::int32_t padded = padded_vocabulary(vocabulary, size);
      BOOST_TEST(padded >= vocabulary);
      BOOST_TEST(padded % size == 0);
      BOOST_TEST(padded % vocabulary_padding == 0);
      BOOST_TEST(vocabulary_slice(vocabulary, size - 1, size).last() == padded);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
