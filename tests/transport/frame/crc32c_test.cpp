#include "transport/frame/crc32c.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

using vdist::frame::crc32c;
using vdist::frame::crc32c_by_table;

BOOST_AUTO_TEST_SUITE(crc32c_suite)

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// The definition: polynomial division bit by bit.
std::uint32_t by_definition(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const auto b : bytes) {
    crc ^= static_cast<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
    }
  }
  return ~crc;
}

} // namespace

BOOST_AUTO_TEST_CASE(knows_the_published_check_values) {
  BOOST_TEST(crc32c({}) == 0U);
  BOOST_TEST(crc32c(bytes_of("123456789")) == 0xe3069283U);
  const std::array<std::byte, 32> zeros{};
  BOOST_TEST(crc32c(zeros) == 0x8a9136aaU); // RFC 3720, B.4
  BOOST_TEST(crc32c_by_table(zeros) == 0x8a9136aaU);
}

BOOST_AUTO_TEST_CASE(instruction_and_table_agree_with_the_definition) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(5000);
  for (auto& b : bytes) {
    b = static_cast<std::byte>(random());
  }
  for (const std::size_t size : {1U, 7U, 8U, 9U, 767U, 768U, 769U, 1536U, 2311U, 4990U}) {
    for (const std::size_t offset : {0U, 1U, 5U}) {
      const auto part = std::span<const std::byte>(bytes).subspan(offset, size);
      const auto expected = by_definition(part);
      BOOST_TEST(crc32c(part) == expected, "size " << size << " offset " << offset);
      BOOST_TEST(crc32c_by_table(part) == expected);
    }
  }
}

BOOST_AUTO_TEST_CASE(continues_from_a_seed) {
  std::vector<std::byte> bytes(3000);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 31);
  }
  const auto all = std::span<const std::byte>(bytes);
  for (const std::size_t cut : {0U, 1U, 64U, 1000U, 2999U, 3000U}) {
    BOOST_TEST(crc32c(all.subspan(cut), crc32c(all.first(cut))) == crc32c(all));
  }
}

BOOST_AUTO_TEST_SUITE_END()
