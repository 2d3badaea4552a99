#include "tests/runtime/protocol/step_examples.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

#include <initializer_list>

using namespace vdist;
using namespace vdist::protocol;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(step_codec_hostile_suite)

namespace {

using bytes = std::vector<std::byte>;

bytes literal(std::initializer_list<int> values) {
  bytes out;
  for (const int value : values) {
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

std::string refusal(const bytes& message, const step_codec_limits& limits = {}) {
  step_plan plan = example_plan(3, 10);
  const auto outcome = decode(message, plan, limits);
  if (outcome) {
    return "accepted";
  }
  BOOST_CHECK(outcome.error().code == errc::corrupt);
  BOOST_TEST(same(plan, step_plan{})); // S-2: the target is empty
  return outcome.error().context;
}

/// Memory that a decoded object holds, bytes.
std::size_t held(const step_plan& p) {
  return p.slots.capacity() * 4 + p.request_ids.capacity() * 8 + p.flags.capacity()
         + p.first_position.capacity() * 4 + p.token_counts.capacity() * 4
         + p.block_counts.capacity() * 4 + p.new_blocks.capacity() * 4 + p.tokens.capacity() * 4
         + p.retired_slots.capacity() * 4 + p.sampling.capacity() * sizeof(sampling_record)
         + p.bias_ids.capacity() * 4 + p.bias_values.capacity() * 4
         + p.suppressed_ids.capacity() * 4 + (p.saves.capacity() + p.loads.capacity()) * 8;
}

std::size_t held(const step_result& r) {
  constexpr std::size_t short_text = 16;
  return (r.slots.capacity() + r.tokens.capacity() + r.logprobs.capacity() + r.top_counts.capacity()
          + r.top_ids.capacity() + r.top_logprobs.capacity())
             * 4
         + (r.message.capacity() < short_text ? 0 : r.message.capacity());
}

/// Decodes into a fresh object: it may take no more memory than the message is long.
template <class Message>
bool decodes_within_bounds(const bytes& message) {
  Message target;
  const bool is_accepted = decode(message, target).has_value();
  BOOST_REQUIRE(held(target) <= 2 * message.size() + 64);
  return is_accepted;
}

} // namespace

BOOST_AUTO_TEST_CASE(says_what_is_wrong) { // S-2
  BOOST_TEST(refusal({}) == "step plan: truncated (bytes=0)");
  BOOST_TEST(refusal(literal({0x80})) == "step plan: unexpected type (bytes=1)");
  BOOST_TEST(refusal(literal({0x91})) == "step plan: truncated (bytes=1)");
  BOOST_TEST(refusal(literal({0x91, 0xff})) == "step plan: number out of range (bytes=2)");
  BOOST_TEST(refusal(literal({0x91, 0xc0})) == "step plan: unexpected type (bytes=2)");
  BOOST_TEST(refusal(literal({0x92, 1, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0}))
             == "step plan: number out of range (bytes=11)");
  BOOST_TEST(refusal(literal({0x90, 0})) == "step plan: bytes behind the message (bytes=2)");
  BOOST_TEST(refusal(literal({0x93, 1, 1, 0xc4, 3, 0, 0, 0}))
             == "step plan: column is not a whole number of elements (bytes=8)");
  BOOST_TEST(refusal(literal({0xdd, 0xff, 0xff, 0xff, 0xff}))
             == "step plan: too many fields (bytes=5)");
  BOOST_TEST(refusal(literal({0x93, 1, 1, 0xc6, 0xff, 0xff, 0xff, 0xff}))
             == "step plan: truncated (bytes=8)");
  BOOST_TEST(refusal(literal({0x90}), {.message_bytes_max = 0})
             == "step plan: message is too long (bytes=1)");
}

BOOST_AUTO_TEST_CASE(refuses_deep_nesting_and_false_counts_in_the_unknown_tail) { // S-2
  bytes message;
  encode(step_plan{}, message);
  const auto with_tail = [&message](bytes tail) {
    auto longer = message;
    BOOST_REQUIRE(longer[0] == std::byte{0xdc}); // an array whose length has two bytes
    longer[2] = static_cast<std::byte>(std::to_integer<unsigned>(longer[2]) + 1);
    longer.insert(longer.end(), tail.begin(), tail.end());
    return refusal(longer);
  };
  BOOST_TEST(with_tail(literal({0x91, 0x91, 0x91, 0xc0})) == "accepted");
  BOOST_TEST(
      with_tail(bytes(1000000, std::byte{0x91})).starts_with("step plan: nested too deeply"));
  BOOST_TEST(
      with_tail(literal({0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0})).starts_with("step plan: truncated"));
  BOOST_TEST(
      with_tail(literal({0xdf, 0xff, 0xff, 0xff, 0xff})).starts_with("step plan: truncated"));
  BOOST_TEST(
      with_tail(literal({0xc9, 0xff, 0xff, 0xff, 0xff})).starts_with("step plan: truncated"));
  BOOST_TEST(with_tail(literal({0xc1})).starts_with("step plan: unexpected type"));
}

BOOST_AUTO_TEST_CASE(refuses_every_truncation) {
  bytes plan;
  encode(example_plan(3, 20), plan);
  bytes result;
  encode(example_result(3, 20), result);
  for (std::size_t size = 0; size < plan.size(); ++size) {
    BOOST_REQUIRE(!decodes_within_bounds<step_plan>(
        bytes(plan.begin(), plan.begin() + static_cast<std::ptrdiff_t>(size))));
  }
  for (std::size_t size = 0; size < result.size(); ++size) {
    BOOST_REQUIRE(!decodes_within_bounds<step_result>(
        bytes(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(size))));
  }
}

BOOST_AUTO_TEST_CASE(survives_flipped_bits) {
  bytes plan;
  encode(example_plan(2, 12), plan);
  bytes result;
  encode(example_result(2, 12), result);
  example_numbers numbers(11);
  std::uint32_t refused = 0;
  constexpr std::uint32_t cases = 4000;
  for (std::uint32_t i = 0; i < cases; ++i) {
    auto damaged = i % 2 == 0 ? plan : result;
    for (std::uint64_t flips = numbers.next() % 4 + 1; flips > 0; --flips) {
      damaged[numbers.next() % damaged.size()] ^= static_cast<std::byte>(1U << numbers.next() % 8);
    }
    refused += decodes_within_bounds<step_plan>(damaged) ? 0U : 1U;
    refused += decodes_within_bounds<step_result>(damaged) ? 0U : 1U;
  }
  BOOST_TEST(refused > cases / 10); // the rest is damaged contents, which the frame's CRC finds
}

BOOST_AUTO_TEST_CASE(survives_random_bytes) {
  example_numbers numbers(12);
  for (std::uint32_t i = 0; i < 4000; ++i) {
    bytes message(numbers.next() % 200 + 1);
    for (auto& b : message) {
      b = static_cast<std::byte>(numbers.next());
    }
    // Most random messages would fail at the first byte: give three of four a plausible array head.
    if (i % 4 != 0) {
      message[0] = static_cast<std::byte>(0x90U | numbers.next() % 16);
    }
    decodes_within_bounds<step_plan>(message);
    decodes_within_bounds<step_result>(message);
  }
}

BOOST_AUTO_TEST_SUITE_END()
