// The messages between processes of a host: what goes in comes out, and hostile bytes are refused.
#include "tests/support/example_messages.hpp"

#include <boost/test/unit_test.hpp>
#include <msgpack.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::protocol;
using namespace vdist::testing;

namespace {

using bytes = std::vector<std::byte>;

bytes encoded(const host_message& message) {
  bytes out;
  encode(message, out);
  return out;
}

template <class Message>
bytes encoded(const Message& message) {
  bytes out;
  encode(message, out);
  return out;
}

/// As a build that knew only the first `fields` of a message would have written it.
bytes first_fields_of(const bytes& message, std::uint32_t fields) {
  const auto whole = msgpack::unpack(reinterpret_cast<const char*>(message.data()), message.size());
  const auto& all = whole.get().via.array;
  BOOST_REQUIRE(fields <= all.size);
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  packer.pack_array(fields);
  for (std::uint32_t i = 0; i < fields; ++i) {
    packer.pack(all.ptr[i]);
  }
  const auto* data = reinterpret_cast<const std::byte*>(buffer.data());
  return {data, data + buffer.size()};
}

/// Whatever comes, the decoders return.
void feed_all(const bytes& hostile) {
  (void)decode_host_message(hostile);
  worker_order order;
  (void)decode(hostile, order);
  worker_command command;
  (void)decode(hostile, command);
  worker_event event;
  (void)decode(hostile, event);
  load_progress progress;
  (void)decode(hostile, progress);
}

} // namespace

BOOST_AUTO_TEST_SUITE(process_protocols)

BOOST_AUTO_TEST_CASE(every_message_comes_out_as_it_went_in) {
  for (const auto& message : example_messages()) {
    const auto decoded = decode_host_message(encoded(message));
    BOOST_REQUIRE(decoded.has_value());
    BOOST_TEST((*decoded == message));
  }
  worker_order order;
  BOOST_REQUIRE(decode(encoded(example_order()), order).has_value());
  BOOST_TEST((order == example_order()));
  worker_event event;
  const worker_event failed{.what = worker_event::kind::failed,
                            .slot = 1,
                            .worker = incarnation(3),
                            .now = epoch(4),
                            .status = errc::corrupt,
                            .text = "why"};
  BOOST_REQUIRE(decode(encoded(failed), event).has_value());
  BOOST_TEST((event == failed));
  worker_command command;
  const worker_command begin{worker_command::kind::begin, 12};
  BOOST_REQUIRE(decode(encoded(begin), command).has_value());
  BOOST_TEST((command == begin));
}

BOOST_AUTO_TEST_CASE(a_missing_tail_keeps_defaults_and_an_unknown_tail_is_skipped) {
  const auto pack = [](auto... values) {
    msgpack::sbuffer buffer;
    msgpack::packer<msgpack::sbuffer> packer(buffer);
    packer.pack_array(sizeof...(values));
    (packer.pack(values), ...);
    const auto* data = reinterpret_cast<const std::byte*>(buffer.data());
    return bytes(data, data + buffer.size());
  };
  worker_command command;
  BOOST_REQUIRE(decode(pack(1), command).has_value());
  BOOST_TEST(command.now == 0U);
  BOOST_REQUIRE(decode(pack(3, 9, std::string("later")), command).has_value());
  BOOST_TEST(command.now == 9U);
}

BOOST_AUTO_TEST_CASE(an_order_of_another_version_is_refused) { // P-5
  constexpr std::uint32_t fields_before_version = 36;          // up to load_stall_ms
  worker_order order;
  const auto silent =
      decode(first_fields_of(encoded(example_order()), fields_before_version), order);
  BOOST_REQUIRE(!silent);
  BOOST_TEST((silent.error().code == errc::unsupported));
  for (const auto version : {programs_version - 1, programs_version + 1}) {
    auto foreign = example_order();
    foreign.version = version;
    const auto refused = decode(encoded(foreign), order);
    BOOST_REQUIRE(!refused);
    BOOST_TEST((refused.error().code == errc::unsupported));
    BOOST_TEST(refused.error().context.find("theirs=" + std::to_string(version))
                   != std::string::npos,
               refused.error().context);
  }
}

BOOST_AUTO_TEST_CASE(orders_that_contradict_themselves_are_refused) {
  const auto is_refused = [](auto spoil) {
    auto order = example_order();
    spoil(order);
    worker_order out;
    return !decode(encoded(order), out).has_value();
  };
  BOOST_TEST(is_refused([](auto& order) { order.slot = 4; }));
  BOOST_TEST(is_refused([](auto& order) { order.slot = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.stage_of_slot[0] = 2; }));
  BOOST_TEST(is_refused([](auto& order) { order.stage_of_slot[3] = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.first_rank = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.first_rank = 0x7ffffffd; }));
  BOOST_TEST(is_refused([](auto& order) { order.tensor_rank = 2; }));
  BOOST_TEST(is_refused([](auto& order) { order.last_layer = 3; }));
  BOOST_TEST(is_refused([](auto& order) { order.threads = 0; }));
  BOOST_TEST(is_refused([](auto& order) { order.step_us = 1e20; }));
  BOOST_TEST(is_refused([](auto& order) { order.token_us = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.device = static_cast<worker_device>(9); }));
  BOOST_TEST(is_refused([](auto& order) { order.device_index = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.peer_devices.pop_back(); }));
  BOOST_TEST(is_refused([](auto& order) { order.peer_devices[3] = 4; }));
  BOOST_TEST(is_refused([](auto& order) { order.step_deadline_ms = 0; }));
  BOOST_TEST(is_refused([](auto& order) { order.detect_ms = 0; }));
  BOOST_TEST(is_refused([](auto& order) { order.load_stall_ms = 0; }));
  BOOST_TEST(is_refused([](auto& order) { order.store_slots = -1; }));
  BOOST_TEST(is_refused([](auto& order) { order.store_saves = 0; }));
  BOOST_TEST(is_refused([](auto& order) { order.store_first = ~std::uint64_t{0}; }));
  BOOST_TEST(is_refused([](auto& order) { order.store_stride = std::uint64_t{1} << 49U; }));
}

BOOST_AUTO_TEST_CASE(numbers_of_a_welcome_that_do_not_fit_are_refused_and_not_cut) {
  constexpr std::uint64_t rank_max = 0x7fffffff;
  constexpr std::uint64_t incarnation_max = 0xffffffff;
  const auto welcome = [](const std::vector<std::uint64_t>& living,
                          const std::vector<std::uint64_t>& last) {
    msgpack::sbuffer buffer;
    buffer.write("\0", 1); // the kind
    msgpack::packer<msgpack::sbuffer> packer(buffer);
    packer.pack_array(7);
    for (int field = 0; field < 5; ++field) {
      packer.pack(1);
    }
    packer.pack(living);
    packer.pack(last);
    const auto* data = reinterpret_cast<const std::byte*>(buffer.data());
    return decode_host_message({data, buffer.size()});
  };
  const auto kept = welcome({rank_max, incarnation_max, rank_max, ~std::uint64_t{0}},
                            {rank_max, incarnation_max});
  BOOST_REQUIRE(kept.has_value());
  const auto& decoded = std::get<host_welcome>(*kept);
  BOOST_TEST(decoded.living.at(0).key.rank == std::int32_t{rank_max});
  BOOST_TEST(decoded.living.at(0).key.incarnation == incarnation_max);
  BOOST_TEST(decoded.last.at(0).incarnation == incarnation_max);
  BOOST_TEST(!welcome({rank_max + 1, 1, 1, 1}, {}).has_value());
  BOOST_TEST(!welcome({std::uint64_t{1} << 32U, 1, 1, 1}, {}).has_value());
  BOOST_TEST(!welcome({1, incarnation_max + 1, 1, 1}, {}).has_value());
  BOOST_TEST(!welcome({1, 1, rank_max + 1, 1}, {}).has_value());
  BOOST_TEST(!welcome({}, {rank_max + 1, 1}).has_value());
  BOOST_TEST(!welcome({}, {1, incarnation_max + 1}).has_value());
}

BOOST_AUTO_TEST_CASE(cut_lengthened_and_random_bytes_are_refused_or_decoded_but_never_harm) {
  std::vector<bytes> good{encoded(example_order())};
  for (const auto& message : example_messages()) {
    good.push_back(encoded(message));
  }
  std::mt19937 random(7);
  for (const auto& one : good) {
    for (std::size_t length = 0; length < one.size(); ++length) {
      feed_all(bytes(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(length)));
    }
    for (int round = 0; round < 2000; ++round) {
      auto spoiled = one;
      for (int hits = 0; hits < 3; ++hits) {
        spoiled[random() % spoiled.size()] = static_cast<std::byte>(random());
      }
      feed_all(spoiled);
    }
  }
  auto longer = good.front();
  longer.push_back(std::byte{0});
  worker_order order;
  BOOST_TEST(!decode(longer, order).has_value());
  // Five bytes that claim 2^32-1 elements.
  feed_all({std::byte{0xdd}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}});
}

BOOST_AUTO_TEST_SUITE_END()
