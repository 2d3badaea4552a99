// runtime/protocol/msgpack_bytes.hpp — the few msgpack forms of the step path, written and read in
// place: integers, str, bin, array. Internal to the codecs of this folder.
// The writer picks the shortest form, as msgpack-c does. The reader accepts every form of the
// asked-for type and never looks beyond its input; after the first mismatch it stays failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vdist::protocol {

/// Writes to memory that the caller has made large enough: at most 9 bytes per integer, 5 bytes
/// plus the contents per str, bin and array head.
class msgpack_writer {
public:
  explicit msgpack_writer(std::byte* at) : at_(at) {}

  void put_array(std::uint32_t count) { put_head(count, 16, 0x90, 0, 0xdc, 0xdd); }

  void put_text(const char* text, std::uint32_t bytes) {
    put_head(bytes, 32, 0xa0, 0xd9, 0xda, 0xdb);
    put_bytes(text, bytes);
  }

  void put_bin(const void* data, std::uint32_t bytes) {
    put_head(bytes, 0, 0, 0xc4, 0xc5, 0xc6);
    put_bytes(data, bytes);
  }

  void put_unsigned(std::uint64_t value) {
    if (value < 0x80) {
      put_number(value, 1);
    } else if (value <= 0xff) {
      put_tagged(0xcc, value, 1);
    } else if (value <= 0xffff) {
      put_tagged(0xcd, value, 2);
    } else if (value <= 0xffffffff) {
      put_tagged(0xce, value, 4);
    } else {
      put_tagged(0xcf, value, 8);
    }
  }

  void put_signed(std::int64_t value) {
    if (value >= 0) {
      put_unsigned(static_cast<std::uint64_t>(value));
      return;
    }
    const auto bits = static_cast<std::uint64_t>(value);
    if (value >= -32) {
      put_number(bits, 1);
    } else if (value >= INT8_MIN) {
      put_tagged(0xd0, bits, 1);
    } else if (value >= INT16_MIN) {
      put_tagged(0xd1, bits, 2);
    } else if (value >= INT32_MIN) {
      put_tagged(0xd2, bits, 4);
    } else {
      put_tagged(0xd3, bits, 8);
    }
  }

  [[nodiscard]] std::byte* position() const { return at_; }

private:
  /// Big-endian, the low `bytes` bytes.
  void put_number(std::uint64_t value, unsigned bytes) {
    for (unsigned shift = bytes * 8; shift > 0; shift -= 8) {
      *at_++ = static_cast<std::byte>(value >> (shift - 8));
    }
  }

  void put_tagged(unsigned tag, std::uint64_t value, unsigned bytes) {
    *at_++ = static_cast<std::byte>(tag);
    put_number(value, bytes);
  }

  /// Forms that a type does not have: fixed_below or tag_8 is 0.
  void put_head(std::uint32_t count,
                std::uint32_t fixed_below,
                unsigned fixed_tag,
                unsigned tag_8,
                unsigned tag_16,
                unsigned tag_32) {
    if (count < fixed_below) {
      *at_++ = static_cast<std::byte>(fixed_tag | count);
    } else if (tag_8 != 0 && count <= 0xff) {
      put_tagged(tag_8, count, 1);
    } else if (count <= 0xffff) {
      put_tagged(tag_16, count, 2);
    } else {
      put_tagged(tag_32, count, 4);
    }
  }

  void put_bytes(const void* data, std::uint32_t bytes) {
    if (bytes > 0) {
      std::memcpy(at_, data, bytes);
      at_ += bytes;
    }
  }

  std::byte* at_;
};

/// Reads from bytes that nobody vouches for.
class msgpack_reader {
public:
  explicit msgpack_reader(std::span<const std::byte> bytes) : left_(bytes) {}

  [[nodiscard]] bool has_failed() const { return cause_ != nullptr; }

  /// Why reading failed; nullptr while it has not.
  [[nodiscard]] const char* cause() const { return cause_; }

  [[nodiscard]] std::size_t bytes_left() const { return left_.size(); }

  /// Elements of an array.
  std::uint32_t take_array();

  /// An integer in [low, high] of either sign; high is given unsigned.
  std::uint64_t take_unsigned(std::uint64_t high);
  std::int64_t take_signed(std::int64_t low, std::int64_t high);

  std::span<const std::byte> take_text();
  std::span<const std::byte> take_bin();

  /// Passes over one value of any type, nested at most `depth` deep. Time is linear in its bytes.
  void skip(std::uint32_t depth);

private:
  struct integer {
    std::uint64_t bits = 0;
    bool is_negative = false;
  };

  std::span<const std::byte> fail(const char* cause);
  unsigned take_tag();
  std::uint64_t take_number(unsigned bytes);
  std::span<const std::byte> take_bytes(std::uint64_t count);
  integer take_integer();
  void skip_elements(std::uint64_t count, std::uint32_t depth);

  std::span<const std::byte> left_;
  const char* cause_ = nullptr;
};

} // namespace vdist::protocol
