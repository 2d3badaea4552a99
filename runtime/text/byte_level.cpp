#include "runtime/text/byte_level.hpp"

#include "runtime/text/unicode.hpp"

namespace vdist::text {
namespace {

constexpr char32_t first_moved = 0x100;
constexpr char32_t characters_end = 0x144; // 68 bytes are moved to 0x100 … 0x143

constexpr bool stands_for_itself(std::uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = first_moved;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    characters[byte] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return characters;
}

constexpr std::array<char32_t, 256> characters = make_characters();

constexpr std::array<std::int16_t, characters_end> make_bytes() {
  std::array<std::int16_t, characters_end> bytes{};
  bytes.fill(-1);
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    bytes[characters[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}

constexpr std::array<std::int16_t, characters_end> bytes_of = make_bytes();

} // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    append_utf8(out, characters[static_cast<unsigned char>(byte)]);
  }
  return out;
}

std::optional<std::string> from_byte_level(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const code_point c = code_point_at(utf8, at);
    if (c.value >= characters_end || bytes_of[c.value] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(bytes_of[c.value]));
    at += c.bytes;
  }
  return out;
}

} // namespace vdist::text
