// The vault's messages are structs: what is accepted is, byte for byte, what its meaning is written as (B-1).
#include "tests/fuzz/fuzz_run.hpp"

#include "transport/vault/vault_protocol.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>

using namespace vdist;
using namespace vdist::testing::fuzz;
using vault::reply_message;
using vault::request_message;

namespace {

constexpr heap_bound bound{.fixed = 512, .times = 2};

/// Units of four bytes: fields, or halves of them.
specimen in_words(const bytes& message) {
  specimen made;
  for (std::size_t at = 0; at < message.size(); at += 4) {
    const auto word = std::span(message).subspan(at, std::min<std::size_t>(4, message.size() - at));
    made.units.emplace_back(word.begin(), word.end());
  }
  return made;
}

template <class Message>
bytes encoded(const Message& message) {
  const auto all = std::as_bytes(std::span(&message, 1));
  return {all.begin(), all.end()};
}

/// Judged by the bytes themselves, too: there is one way to write a message.
template <class Parse, class Encode>
judgement judge(std::span<const std::byte> input, Parse&& parse, Encode&& encode) {
  const auto before = heap_bytes();
  const auto parsed = parse(input);
  if (heap_bytes() - before > bound.of(input.size())) {
    return wrong("it asked the heap for more than it may");
  }
  if (!parsed) {
    return judge_error(parsed.error(), errc::corrupt);
  }
  const auto again = encode(*parsed);
  return std::equal(again.begin(), again.end(), input.begin(), input.end())
             ? accepted()
             : wrong("it is not written as it was read: " + hex(again));
}

judgement judge_request(std::span<const std::byte> input) {
  return judge(input, vault::parse_request, [](const request_message& request) {
    static_cast<void>(vault::key_of(request));
    static_cast<void>(vault::place_of(request));
    return encoded(request);
  });
}

judgement judge_record(std::span<const std::byte> input) {
  return judge(input, vault::parse_record, [](const vault::record_message& record) {
    static_cast<void>(vault::key_of(record));
    static_cast<void>(vault::place_of(record));
    return encoded(record);
  });
}

judgement judge_reply(std::span<const std::byte> input) {
  return judge(input, vault::parse_reply, [](const vault::parsed_reply& reply) {
    static_cast<void>(to_string(reply.head.code));
    static_cast<void>(vault::place_of(reply.head));
    return vault::encode_reply(reply.head, reply.text);
  });
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_vault)

BOOST_AUTO_TEST_CASE(requests_of_clients) { // B-1
  material from;
  for (auto wanted = vault::operation::map; wanted <= vault::operation::zeroed;
       wanted = static_cast<vault::operation>(static_cast<int>(wanted) + 1)) {
    from.specimens.push_back(in_words(encoded(request_message{
        .wanted = wanted, .sequence = 9, .rank = 3, .index = 2, .bytes = 1ULL << 33U})));
  }
  run({.name = "vault request", .from = std::move(from), .judge = judge_request});
}

BOOST_AUTO_TEST_CASE(records_of_what_a_vault_has) { // B-1
  material from;
  for (auto what = vault::record_kind::begin; what <= vault::record_kind::client_gone;
       what = static_cast<vault::record_kind>(static_cast<int>(what) + 1)) {
    from.specimens.push_back(
        in_words(encoded(vault::record_message{.what = what,
                                               .client = 3,
                                               .sequence = 9,
                                               .region_id = 5,
                                               .address = vault::region_window_base,
                                               .bytes = 1ULL << 33U,
                                               .rank = 3,
                                               .flag = 1})));
  }
  run({.name = "vault record", .from = std::move(from), .judge = judge_record});
}

BOOST_AUTO_TEST_CASE(replies_of_the_vault) { // B-1
  material from;
  const reply_message good{.sequence = 4,
                           .region_id = 3,
                           .address = vault::region_window_base,
                           .ready_hash = 0xfeed,
                           .total_bytes = 1ULL << 30U,
                           .flags = vault::reply_is_new};
  from.specimens.push_back(in_words(vault::encode_reply(good, "")));
  from.specimens.push_back(in_words(vault::encode_reply(
      {.code = errc::resource_exhausted, .sequence = 5}, "vault: no memory is left (bytes=7)")));
  run({.name = "vault reply", .from = std::move(from), .judge = judge_reply});
}

BOOST_AUTO_TEST_SUITE_END()
