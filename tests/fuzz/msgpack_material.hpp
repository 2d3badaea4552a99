// tests/fuzz/msgpack_material.hpp — encoded messages as specimens whose units are their fields.
#pragma once

#include "tests/fuzz/mutation.hpp"

#include "runtime/protocol/msgpack_bytes.hpp"

namespace vdist::testing::fuzz {

/// `encoded` is `prefix` bytes and one msgpack array.
inline specimen msgpack_specimen(const bytes& encoded, std::size_t prefix = 0) {
  constexpr std::uint32_t depth_max = 8;
  const auto message = std::span(encoded).subspan(prefix);
  specimen made{.prefix = bytes(encoded.begin(), encoded.end()), .is_counted = true};
  made.prefix.resize(prefix);
  protocol::msgpack_reader from(message);
  for (auto left = from.take_array(); left > 0; --left) {
    const auto at = message.size() - from.bytes_left();
    from.skip(depth_max);
    const auto unit = message.subspan(at, message.size() - from.bytes_left() - at);
    made.units.emplace_back(unit.begin(), unit.end());
  }
  return made;
}

/// Fields that nobody writes: limits of every width, other types, lengths that are not there.
inline std::vector<bytes> msgpack_pieces() {
  using namespace std::string_view_literals;
  std::vector<bytes> pieces;
  for (const auto text : {"\xc0"sv,
                          "\xc1"sv,
                          "\xc2"sv,
                          "\xc3"sv,
                          "\x00"sv,
                          "\x7f"sv,
                          "\xff"sv,
                          "\xe0"sv,
                          "\xcc\xff"sv,
                          "\xcd\xff\xff"sv,
                          "\xce\xff\xff\xff\xff"sv,
                          "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"sv,
                          "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"sv,
                          "\xd0\x80"sv,
                          "\xd2\x7f\xff\xff\xff"sv,
                          "\xd2\x80\x00\x00\x00"sv,
                          "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"sv,
                          "\xca\x7f\xc0\x00\x00"sv,                 // NaN
                          "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"sv, // infinity
                          "\xa0"sv,
                          "\xa3\xff\x00\n"sv,
                          "\xd9\xff"sv,
                          "\xdb\xff\xff\xff\xff"sv,
                          "\xc4\x00"sv,
                          "\xc4\x05\x01\x02\x03\x04\x05"sv,
                          "\xc6\xff\xff\xff\xff"sv,
                          "\xc9\xff\xff\xff\xff\x01"sv,
                          "\xd4\x01\x02"sv,
                          "\x90"sv,
                          "\x91\x91\x91\x91\xc0"sv,
                          "\x93\x01\x02\x03"sv,
                          "\xdc\xff\xff"sv,
                          "\xdd\xff\xff\xff\xff"sv,
                          "\x80"sv,
                          "\x81\x01\x02"sv,
                          "\xdf\xff\xff\xff\xff"sv}) {
    pieces.push_back(bytes_of(text));
  }
  pieces.emplace_back(64, std::byte{0x91}); // nested too deeply
  return pieces;
}

} // namespace vdist::testing::fuzz
