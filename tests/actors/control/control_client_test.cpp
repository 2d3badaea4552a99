#include "actors/control/control_client.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::control;

BOOST_AUTO_TEST_SUITE(control_sockets)

BOOST_AUTO_TEST_CASE(a_name_of_any_bytes_becomes_a_short_plain_one) {
  BOOST_TEST(socket_name("demo-1.a_B", 42) == "vdist/demo-1.a_B/42");
  BOOST_TEST(socket_name("a/b c\n\xff", 42) == "vdist/a_b_c__/42");
  BOOST_TEST(socket_name("", 42) == "vdist/_/42");
  BOOST_TEST(socket_name(std::string(1000, 'x'), 2147483647).size() < 107U);
}

BOOST_AUTO_TEST_CASE(finds_every_cluster_once_and_nothing_else) {
  const auto found = parse_unix_sockets(
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 73 @vdist/demo/42\n"
      "0000000000000000: 00000003 00000000 00000000 0005 03 74 @vdist/demo/42\n"
      "0000000000000000: 00000003 00000000 00000000 0001 03 75\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 76 /run/vdist/demo/43\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 77 vdist/demo/44\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 78 @vdist/demo/\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 79 @vdist//45\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 80 @vdist/a/b/46\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 81 @vdist/demo/0x2f\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 82 @vdist/demo/-5\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 83 @vdist/demo/99999999999\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 84 @vdist/demo/47@\n"
      "0000000000000000: 00000002 00000000 00010000 0005 01 85 @vdist/other/7");
  const std::vector<cluster_address> expected{{"demo", 42}, {"other", 7}};
  BOOST_TEST((found == expected));
  BOOST_TEST(parse_unix_sockets("").empty());
}

BOOST_AUTO_TEST_CASE(a_cluster_that_is_not_there_is_not_found) {
  const auto reply = ask({"nobody", 1}, "{}", std::chrono::seconds(1));
  BOOST_REQUIRE(!reply.has_value());
  BOOST_TEST((reply.error().code == errc::not_found));
}

BOOST_AUTO_TEST_SUITE_END()
