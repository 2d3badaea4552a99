#include "transport/frame/crc32c.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace vdist::frame {

namespace {

constexpr std::uint32_t polynomial = 0x82f63b78; // Castagnoli, bits reversed

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? polynomial : 0U);
    }
    table[i] = crc;
  }
  return table;
}

constexpr auto byte_table = make_table();

/// Advances a checksum register over zero bytes: combines the streams that are computed side by
/// side. One table per byte of the register, for one fixed distance.
using shift_tables = std::array<std::array<std::uint32_t, 256>, 4>;

constexpr std::uint32_t shift_register(std::uint32_t crc, std::size_t zero_bytes) {
  for (std::size_t i = 0; i < zero_bytes; ++i) {
    crc = byte_table[crc & 0xffU] ^ (crc >> 8U);
  }
  return crc;
}

/// Bytes per stream of the three-stream loop: the instruction has a latency of three cycles and
/// starts one per cycle, so three independent streams keep it busy.
constexpr std::size_t stream_bytes = 256;

constexpr shift_tables make_shift_tables() {
  // The shift is linear over XOR: 32 single bits give all 4 × 256 entries.
  std::array<std::uint32_t, 32> bits{};
  for (std::uint32_t b = 0; b < 32; ++b) {
    bits[b] = shift_register(std::uint32_t{1} << b, stream_bytes);
  }
  shift_tables tables{};
  for (std::size_t place = 0; place < 4; ++place) {
    for (std::uint32_t value = 0; value < 256; ++value) {
      for (std::uint32_t b = 0; b < 8; ++b) {
        if ((value >> b & 1U) != 0) {
          tables[place][value] ^= bits[place * 8 + b];
        }
      }
    }
  }
  return tables;
}

#if defined(__x86_64__)

constexpr auto over_one_stream = make_shift_tables();

std::uint32_t shift_over_stream(std::uint64_t crc) {
  return over_one_stream[0][crc & 0xffU] ^ over_one_stream[1][crc >> 8U & 0xffU]
         ^ over_one_stream[2][crc >> 16U & 0xffU] ^ over_one_stream[3][crc >> 24U & 0xffU];
}

std::uint64_t load(const std::byte* at) {
  std::uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

__attribute__((target("sse4.2"))) std::uint32_t
by_instruction(const std::byte* at, std::size_t left, std::uint32_t start) {
  std::uint64_t crc = start;
  while (left >= 3 * stream_bytes) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < stream_bytes; i += 8) {
      crc = _mm_crc32_u64(crc, load(at + i));
      second = _mm_crc32_u64(second, load(at + stream_bytes + i));
      third = _mm_crc32_u64(third, load(at + 2 * stream_bytes + i));
    }
    crc = shift_over_stream(crc) ^ second;
    crc = shift_over_stream(crc) ^ third;
    at += 3 * stream_bytes;
    left -= 3 * stream_bytes;
  }
  for (; left >= 8; at += 8, left -= 8) {
    crc = _mm_crc32_u64(crc, load(at));
  }
  auto tail = static_cast<std::uint32_t>(crc);
  for (; left > 0; ++at, --left) {
    tail = _mm_crc32_u8(tail, static_cast<unsigned char>(*at));
  }
  return tail;
}

#endif

} // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t seed) noexcept {
  std::uint32_t crc = ~seed;
  for (const std::byte b : bytes) {
    crc = byte_table[(crc ^ static_cast<std::uint32_t>(b)) & 0xffU] ^ (crc >> 8U);
  }
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) {
    return ~by_instruction(bytes.data(), bytes.size(), ~seed);
  }
#endif
  return crc32c_by_table(bytes, seed);
}

} // namespace vdist::frame
