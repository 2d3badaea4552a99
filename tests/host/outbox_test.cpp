// H-11: messages to a process that does not read.
#include "host/outbox.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>

using namespace vdist;
using namespace vdist::host;

namespace {

std::vector<std::byte> bytes_of(std::uint32_t number) {
  std::vector<std::byte> bytes(1024);
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

std::uint32_t number_in(std::span<const std::byte> bytes) {
  std::uint32_t number = 0;
  BOOST_REQUIRE(bytes.size() == 1024U);
  std::memcpy(&number, bytes.data(), sizeof(number));
  return number;
}

} // namespace

BOOST_AUTO_TEST_SUITE(outboxes)

BOOST_AUTO_TEST_CASE(what_nobody_reads_is_kept_in_order_up_to_a_bound) { // H-11
  const system_clock time;
  auto ends = socket::make_socket_pair();
  BOOST_REQUIRE(ends.has_value());
  const socket::message_socket near(std::move(ends->first), time);
  const socket::message_socket far(std::move(ends->second), time);
  outbox box;
  std::uint32_t sent = 0;
  result<void> last;
  while ((last = box.send(near, bytes_of(sent)))) {
    ++sent;
    BOOST_REQUIRE(sent < 10 * outbox::messages_max);
  }
  BOOST_TEST((last.error().code == errc::queue_full));
  BOOST_TEST(sent > outbox::messages_max, "those that the socket took, and the bound");
  BOOST_TEST(box.has_waiting());
  for (std::uint32_t i = 0; i < sent; ++i) {
    const auto read = far.receive(time_point{});
    BOOST_REQUIRE(read.has_value());
    BOOST_REQUIRE(number_in(read->bytes) == i);
    BOOST_REQUIRE(box.flush(near).has_value());
  }
  BOOST_TEST(!box.has_waiting());
  BOOST_TEST(box.send(near, bytes_of(7)).has_value());
  BOOST_TEST(!box.has_waiting());
}

BOOST_AUTO_TEST_SUITE_END()
