#include "runtime/protocol/request_codec.hpp"

#include <boost/test/unit_test.hpp>
#include <msgpack.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <random>
#include <tuple>

using namespace vdist;
using namespace vdist::protocol;

BOOST_AUTO_TEST_SUITE(request_codec_suite)

namespace {

using bytes = std::vector<std::byte>;

/// Every field by its bits, so that NaN equals itself.
auto fields_of(const request& r) {
  std::vector<std::pair<token_id, std::uint32_t>> bias;
  for (const auto& [id, value] : r.logit_bias) {
    bias.emplace_back(id, std::bit_cast<std::uint32_t>(value));
  }
  return std::tuple(r.id,
                    r.priority,
                    r.arrival,
                    r.prompt,
                    r.generated,
                    r.max_tokens,
                    r.ignore_eos,
                    r.eos_ids,
                    r.stop_token_ids,
                    std::bit_cast<std::array<std::byte, sizeof(sampling_record)>>(r.sampling),
                    bias,
                    r.client_key);
}

request random_request(std::mt19937_64& random) {
  const auto ids = [&random](std::size_t max) {
    std::vector<token_id> list(random() % (max + 1));
    std::generate(list.begin(), list.end(), [&random] { return static_cast<token_id>(random()); });
    return list;
  };
  // Small and large numbers take different forms of msgpack.
  const auto number = [&random] {
    return random() >> (random() % 64);
  };
  request r;
  r.id = request_id(number());
  r.priority = static_cast<std::int32_t>(number());
  r.arrival = number();
  r.prompt = ids(random() % 20 == 0 ? 70000 : 300);
  r.generated = ids(20);
  r.max_tokens = static_cast<std::int32_t>(number());
  r.ignore_eos = random() % 2 == 1;
  r.eos_ids = ids(4);
  r.stop_token_ids = ids(4);
  std::array<std::byte, sizeof(sampling_record)> record{};
  std::generate(
      record.begin(), record.end(), [&random] { return static_cast<std::byte>(random()); });
  r.sampling = std::bit_cast<sampling_record>(record);
  for (const auto id : ids(5)) {
    r.logit_bias.emplace_back(id, std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  }
  r.client_key = random() % 2 == 0 ? 0 : number();
  return r;
}

bytes encoded(const request& r) {
  bytes out;
  encode(r, out);
  return out;
}

bytes literal(std::initializer_list<int> values) {
  bytes out;
  std::transform(values.begin(), values.end(), std::back_inserter(out), [](int value) {
    return static_cast<std::byte>(value);
  });
  return out;
}

std::string refusal(const bytes& from) {
  const auto decoded = decode_request(from);
  if (decoded) {
    return "accepted";
  }
  BOOST_CHECK(decoded.error().code == errc::corrupt);
  return decoded.error().context;
}

msgpack::object_handle parsed(const bytes& from) {
  return msgpack::unpack(reinterpret_cast<const char*>(from.data()), from.size());
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_encoded_comes_back_bit_for_bit) { // C-3
  std::mt19937_64 random(1);
  bytes out;
  for (int i = 0; i < 2000; ++i) {
    const auto r = random_request(random);
    encode(r, out);
    const auto lists = r.prompt.size() + r.generated.size() + r.eos_ids.size()
                       + r.stop_token_ids.size() + 2 * r.logit_bias.size();
    BOOST_REQUIRE(out.size() <= request_fixed_bytes + 4 * lists);
    const auto decoded = decode_request(out);
    BOOST_REQUIRE(decoded.has_value());
    BOOST_REQUIRE(fields_of(*decoded) == fields_of(r));
  }
}

BOOST_AUTO_TEST_CASE(another_msgpack_library_reads_the_same) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200; ++i) {
    const auto r = random_request(random);
    const auto handle = parsed(encoded(r));
    const auto& array = handle.get().via.array;
    BOOST_REQUIRE(handle.get().type == msgpack::type::ARRAY);
    BOOST_REQUIRE(array.size == 13U);
    BOOST_TEST(array.ptr[0].as<std::uint64_t>() == r.id.value);
    BOOST_TEST(array.ptr[1].as<std::int32_t>() == r.priority);
    BOOST_TEST(array.ptr[3].via.bin.size == 4 * r.prompt.size());
    BOOST_TEST(array.ptr[5].as<std::int32_t>() == r.max_tokens);
    BOOST_TEST(array.ptr[9].via.bin.size == sizeof(sampling_record));
    BOOST_TEST(array.ptr[11].via.bin.size == 4 * r.logit_bias.size());
    BOOST_TEST(array.ptr[12].as<std::uint64_t>() == r.client_key);
  }
}

BOOST_AUTO_TEST_CASE(bytes_of_version_1_stay_readable) {               // C-1
  const auto v1 = literal({0x9c, 0x07, 0xff, 0x09,                     // id, priority, arrival
                           0xc4, 0x08, 1,    0,    0, 0,   2, 0, 0, 0, // prompt
                           0xc4, 0x00,                                 // generated
                           0x20, 0x01,                                 // max_tokens, ignore_eos
                           0xc4, 0x04, 5,    0,    0, 0,               // eos_ids
                           0xc4, 0x00,                                 // stop_token_ids
                           0xc4, 0x0c, 42,   0,    0, 0,   0, 0, 0, 0, // seed …
                           0,    0,    0x80, 0x3f,                     // … and temperature
                           0xc4, 0x04, 3,    0,    0, 0,               // bias_ids
                           0xc4, 0x04, 0,    0,    0, 0x3f});          // bias_values
  const auto decoded = decode_request(v1);
  BOOST_REQUIRE(decoded.has_value());
  request expected;
  expected.id = request_id(7);
  expected.priority = -1;
  expected.arrival = 9;
  expected.prompt = {1, 2};
  expected.max_tokens = 32;
  expected.ignore_eos = true;
  expected.eos_ids = {5};
  expected.sampling.seed = 42;
  expected.sampling.temperature = 1; // the rest of a shorter record has its defaults
  expected.logit_bias = {{3, 0.5F}};
  BOOST_TEST((fields_of(*decoded) == fields_of(expected)));
}

BOOST_AUTO_TEST_CASE(missing_fields_have_their_defaults_and_unknown_ones_are_skipped) { // C-1
  BOOST_TEST((fields_of(*decode_request(literal({0x90}))) == fields_of(request{})));
  const auto first = decode_request(literal({0x91, 0x05}));
  BOOST_REQUIRE(first.has_value());
  BOOST_TEST(first->id.value == 5U);
  BOOST_TEST(first->max_tokens == request{}.max_tokens);
  std::mt19937_64 random(3);
  const auto r = random_request(random);
  auto longer = encoded(r);
  longer[0] = std::byte{0x9f}; // two more
  for (const int value : {0x92, 0xc0, 0x81, 0xa1, 0x6b, 0x01, 0xc3}) {
    longer.push_back(static_cast<std::byte>(value));
  }
  const auto decoded = decode_request(longer);
  BOOST_REQUIRE(decoded.has_value());
  BOOST_TEST((fields_of(*decoded) == fields_of(r)));
}

BOOST_AUTO_TEST_CASE(says_what_is_wrong_with_a_request) { // C-2
  BOOST_TEST(refusal({}) == "request: truncated (bytes=0)");
  BOOST_TEST(refusal(literal({0x80})) == "request: unexpected type (bytes=1)");
  BOOST_TEST(refusal(literal({0x91, 0xff})) == "request: number out of range (bytes=2)");
  BOOST_TEST(refusal(literal({0x90, 0})) == "request: bytes behind the request (bytes=2)");
  BOOST_TEST(refusal(literal({0xdd, 0xff, 0xff, 0xff, 0xff}))
             == "request: too many fields (bytes=5)");
  BOOST_TEST(refusal(literal({0x94, 1, 1, 1, 0xc4, 3, 0, 0, 0}))
             == "request: list is not a whole number of elements (bytes=9)");
  BOOST_TEST(refusal(literal({0x94, 1, 1, 1, 0xc6, 0xff, 0xff, 0xff, 0xff}))
             == "request: truncated (bytes=9)");
  BOOST_TEST(refusal(literal({0x97, 1, 1, 1, 0xc4, 0, 0xc4, 0, 1, 2}))
             == "request: number out of range (bytes=10)"); // ignore_eos is 0 or 1
  auto uneven = encoded({});
  // The end of an empty request: two empty lists, of ids and of biases, and the key.
  uneven[uneven.size() - 4] = std::byte{4};
  uneven.insert(uneven.end() - 3, 4, std::byte{0});
  BOOST_TEST(refusal(uneven).starts_with("request: biases and their ids differ"));
}

BOOST_AUTO_TEST_CASE(every_truncation_is_refused_and_no_damage_costs_memory) { // C-2
  std::mt19937_64 random(4);
  const auto whole = encoded(random_request(random));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto end = whole.begin() + static_cast<std::ptrdiff_t>(size);
    BOOST_REQUIRE(refusal(bytes(whole.begin(), end)) != "accepted");
  }
  for (int round = 0; round < 20000; ++round) {
    auto damaged = whole;
    for (auto hits = 1 + random() % 4; hits > 0; --hits) {
      damaged[random() % std::min<std::size_t>(damaged.size(), random() % 2 == 0 ? 32 : 4096)] =
          static_cast<std::byte>(random());
    }
    if (const auto decoded = decode_request(damaged)) {
      const auto held = 4
                        * (decoded->prompt.capacity() + decoded->generated.capacity()
                           + decoded->eos_ids.capacity() + decoded->stop_token_ids.capacity()
                           + 2 * decoded->logit_bias.capacity());
      BOOST_REQUIRE(held <= 2 * damaged.size());
    }
  }
}

BOOST_AUTO_TEST_CASE(the_body_is_what_the_client_decides) { // C-4
  std::mt19937_64 random(5);
  const auto base = random_request(random);
  const auto hash_with = [&base](auto&& change) {
    auto other = base;
    change(other);
    return body_hash(other);
  };
  const auto hash = body_hash(base);
  BOOST_TEST(hash_with([](request&) {}) == hash);
  BOOST_TEST(hash_with([](request& r) { r.id = request_id(r.id.value + 1); }) == hash);
  BOOST_TEST(hash_with([](request& r) { ++r.arrival; }) == hash);
  BOOST_TEST(hash_with([](request& r) { r.generated.push_back(3); }) == hash);
  BOOST_TEST(hash_with([](request& r) { ++r.client_key; }) == hash);
  BOOST_TEST(hash_with([](request& r) { r.priority ^= 1; }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.prompt.push_back(3); }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.max_tokens ^= 1; }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.ignore_eos = !r.ignore_eos; }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.eos_ids.push_back(3); }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.stop_token_ids.push_back(3); }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.sampling.seed ^= 1; }) != hash);
  BOOST_TEST(hash_with([](request& r) { r.logit_bias.emplace_back(3, 1.0F); }) != hash);
}

BOOST_AUTO_TEST_SUITE_END()
