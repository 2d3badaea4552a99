#include "transport/vault/vault_protocol.hpp"

#include "tests/support/open_fds.hpp"
#include "tests/transport/vault/fake_device.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <sys/socket.h>

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

using byte_list = std::vector<std::byte>;

template <class Message>
byte_list bytes_of(const Message& message) {
  const auto bytes = std::as_bytes(std::span(&message, 1));
  return {bytes.begin(), bytes.end()};
}

/// A legal request about a few small regions, none of which is precious_key().
request_message draw_request(std::mt19937& draw) {
  const auto wanted = draw() % 6;
  return {.wanted = wanted == 5 ? operation::zeroed : static_cast<operation>(1 + wanted),
          .sequence = draw(),
          .rank = static_cast<std::int32_t>(draw() % 2),
          .index = static_cast<std::uint32_t>(draw() % 4),
          .kind = static_cast<region_kind>(draw() % 4),
          .bytes = draw() % 3 == 0 ? draw() : 4096,
          .content_hash = draw(),
          .device = static_cast<std::int32_t>(draw() % 6) - 1};
}

region_key precious_key() {
  return {rank_id(7), region_kind::channels, 9};
}

/// A legal request, a damaged one, or noise of any length.
byte_list draw_bytes(std::mt19937& draw) {
  auto bytes = bytes_of(draw_request(draw));
  switch (draw() % 8) {
  case 1:
    bytes[draw() % 32] ^= static_cast<std::byte>(1U << draw() % 8); // not the size or the hash
    return bytes;
  case 2:
    bytes.resize(1 + draw() % 96);
    return bytes;
  case 3:
    bytes.resize(1 + draw() % 2000);
    std::generate(bytes.begin(), bytes.end(), [&draw] { return std::byte(draw() & 0xffU); });
    return bytes;
  default:
    return bytes;
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(vault_protocol_suite)

BOOST_AUTO_TEST_CASE(requests_and_replies_arrive_as_they_were) {
  const request_message request{.wanted = operation::map,
                                .sequence = 5,
                                .rank = -3,
                                .index = 8,
                                .kind = region_kind::channels,
                                .bytes = 99,
                                .device = 3};
  const auto parsed = parse_request(bytes_of(request));
  BOOST_REQUIRE(parsed);
  BOOST_TEST((bytes_of(*parsed) == bytes_of(request)));
  BOOST_TEST((key_of(*parsed) == region_key{rank_id(-3), region_kind::channels, 8}));
  BOOST_TEST((place_of(*parsed) == memory_place{3}));
  const reply_message reply{
      .code = errc::not_found, .sequence = 5, .limit_bytes = 7, .device = device_max};
  const auto answered = parse_reply(encode_reply(reply, "no such thing"));
  BOOST_REQUIRE(answered);
  BOOST_TEST(answered->text == "no such thing");
  BOOST_CHECK(answered->head.code == errc::not_found);
  BOOST_TEST(answered->head.limit_bytes == 7U);
  BOOST_TEST((place_of(answered->head) == memory_place{device_max}));
  const std::string endless(10'000, 'x');
  BOOST_TEST(parse_reply(encode_reply(reply, endless))->text.size() == error_text_bytes_max);
}

BOOST_AUTO_TEST_CASE(damaged_messages_are_corrupt) { // B-1
  const auto request = bytes_of(request_message{});
  const auto reply = encode_reply({}, "");
  for (const std::size_t place : {0U, 4U, 5U}) { // magic, version
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto damaged = request;
      damaged[place] ^= static_cast<std::byte>(1U << bit);
      BOOST_CHECK(parse_request(damaged).error().code == errc::corrupt);
      damaged = reply;
      damaged[place] ^= static_cast<std::byte>(1U << bit);
      BOOST_CHECK(parse_reply(damaged).error().code == errc::corrupt);
    }
  }
  for (std::size_t size = 0; size < request.size(); ++size) {
    BOOST_TEST(!parse_request(std::span(request).first(size)));
  }
  for (std::size_t size = 0; size < reply.size(); ++size) {
    BOOST_TEST(!parse_reply(std::span(reply).first(size)));
  }
  auto longer = request;
  longer.emplace_back();
  BOOST_TEST(!parse_request(longer));
  longer = reply;
  longer.emplace_back();
  BOOST_TEST(!parse_reply(longer));
  request_message odd;
  odd.wanted = static_cast<operation>(0);
  BOOST_TEST(!parse_request(bytes_of(odd)));
  odd.wanted = static_cast<operation>(8);
  BOOST_TEST(!parse_request(bytes_of(odd)));
  odd = {.kind = static_cast<region_kind>(7)};
  BOOST_TEST(!parse_request(bytes_of(odd)));
  odd = {.reserved = {0, 0, 0, 0, 0, 0, 1}};
  BOOST_TEST(!parse_request(bytes_of(odd)));
  for (const std::int32_t device : {-2, device_max + 1, 1 << 30, -(1 << 30)}) {
    BOOST_TEST(!parse_request(bytes_of(request_message{.device = device})));
    BOOST_TEST(!parse_reply(bytes_of(reply_message{.device = device})));
  }
  BOOST_TEST(!parse_request(bytes_of(request_message{.reserved_end = 1})));
  BOOST_TEST(!parse_reply(bytes_of(reply_message{.reserved_end = 1})));
  BOOST_TEST(!parse_reply(bytes_of(reply_message{.flags = 8})));
  BOOST_TEST(!parse_reply(bytes_of(reply_message{.text_bytes = 1})));
  BOOST_TEST(!parse_reply(bytes_of(reply_message{.code = errc::closed}))); // an error has a text
  BOOST_TEST(!parse_reply(encode_reply({}, "and success has none")));
}

BOOST_AUTO_TEST_CASE(hostile_clients_harm_nobody) { // H-1, B-1, B-2
  const quiet_log quiet;
  const auto fds_before = open_fds();
  {
    const server_thread server({.limit_bytes = std::size_t{1} << 40U,
                                .device_limit_bytes = std::size_t{1} << 35U,
                                .clients_max = 8},
                               make_fake_memory);
    const auto honest = server.make_client();
    const auto precious = honest->map(precious_key(), 10'000).value();
    std::fill(precious.memory.begin(), precious.memory.end(), std::byte{0xaa});
    BOOST_REQUIRE(honest->mark_ready(precious_key(), 1));
    std::mt19937 draw(11);
    std::size_t disconnects = 0;
    std::size_t replies = 0;
    for (int life = 0; life < 300; ++life) {
      const socket::message_socket hostile(server.open_client(), vault_clock);
      for (int i = 0; i < 20; ++i) {
        const int fd = hostile.fd();
        const bool has_fd = draw() % 16 == 0;
        const auto sent =
            hostile.send(draw_bytes(draw), std::span(&fd, has_fd ? 1 : 0), vault_patience());
        const auto answered = sent ? hostile.receive(vault_patience()) : sent.error();
        if (!answered) { // never timed out: a reply or the end (B-2)
          BOOST_REQUIRE(answered.error().code == errc::closed);
          ++disconnects;
          break;
        }
        BOOST_REQUIRE(parse_reply(answered->bytes));
        ++replies;
      }
    }
    BOOST_TEST(disconnects > 200U);
    BOOST_TEST(replies > 200U);
    const auto again = honest->map(precious_key(), 10'000).value();
    BOOST_TEST(!again.is_new);
    BOOST_TEST(again.ready_hash.value() == 1U);
    BOOST_TEST((again.hold == precious.hold));
    BOOST_TEST(std::all_of(precious.memory.begin(), precious.memory.end(), [](std::byte b) {
      return b == std::byte{0xaa};
    }));
  }
  BOOST_TEST(open_fds() == fds_before);
}

BOOST_AUTO_TEST_CASE(a_client_with_a_parents_manners_is_disconnected) { // B-2
  const quiet_log quiet;
  const server_thread server;
  const auto answer_to = [&server](const request_message& request, bool has_fd) {
    const socket::message_socket client(server.open_client(), vault_clock);
    const int fd = client.fd();
    BOOST_REQUIRE(client.send(bytes_of(request), std::span(&fd, has_fd ? 1 : 0), vault_patience()));
    const auto answered = client.receive(vault_patience());
    return answered ? errc::ok : answered.error().code;
  };
  BOOST_CHECK(answer_to({}, false) == errc::ok);
  BOOST_CHECK(answer_to({}, true) == errc::closed);
  BOOST_CHECK(answer_to({.wanted = operation::add_client}, false) == errc::closed);
  BOOST_CHECK(answer_to({.wanted = operation::add_client}, true) == errc::closed);
}

BOOST_AUTO_TEST_CASE(a_client_that_does_not_read_is_disconnected) { // H-2
  const quiet_log quiet;
  const server_thread server;
  const auto honest = server.make_client();
  const socket::message_socket lazy(server.open_client(), vault_clock);
  const auto request = bytes_of(request_message{});
  auto sent = lazy.send(request, {}, vault_patience());
  for (int i = 0; i < 100'000 && sent; ++i) {
    sent = lazy.send(request, {}, vault_patience());
  }
  BOOST_REQUIRE(!sent);
  BOOST_CHECK(sent.error().code == errc::closed);
  BOOST_TEST(honest->map(precious_key(), 1).has_value());
}

BOOST_AUTO_TEST_CASE(malformed_messages_of_the_parent_add_nobody) {
  const quiet_log quiet;
  const server_thread server;
  auto ends = socket::make_socket_pair().value();
  const int fd = ends.first.get();
  const auto add = bytes_of(request_message{.wanted = operation::add_client});
  const auto noise = bytes_of(request_message{.wanted = operation::usage});
  BOOST_REQUIRE(server.control().send(add, {}, vault_patience()));
  BOOST_REQUIRE(server.control().send(noise, std::span(&fd, 1), vault_patience()));
  ends.first.reset();
  const socket::message_socket outsider(std::move(ends.second), vault_clock);
  BOOST_CHECK(outsider.receive(vault_patience()).error().code == errc::closed);
  BOOST_TEST(server.make_client()->map(precious_key(), 1).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
