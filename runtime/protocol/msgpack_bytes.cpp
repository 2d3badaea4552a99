#include "runtime/protocol/msgpack_bytes.hpp"

namespace vdist::protocol {

namespace {

constexpr const char* truncated = "truncated";
constexpr const char* wrong_type = "unexpected type";
constexpr const char* out_of_range = "number out of range";
constexpr const char* too_deep = "nested too deeply";

} // namespace

std::span<const std::byte> msgpack_reader::fail(const char* cause) {
  if (cause_ == nullptr) {
    cause_ = cause;
  }
  left_ = {};
  return {};
}

std::span<const std::byte> msgpack_reader::take_bytes(std::uint64_t count) {
  if (count > left_.size()) {
    return fail(truncated);
  }
  const auto taken = left_.first(static_cast<std::size_t>(count));
  left_ = left_.subspan(taken.size());
  return taken;
}

unsigned msgpack_reader::take_tag() {
  const auto taken = take_bytes(1);
  // 0xc1 is the one tag that msgpack never uses.
  return taken.empty() ? 0xc1U : std::to_integer<unsigned>(taken[0]);
}

std::uint64_t msgpack_reader::take_number(unsigned bytes) {
  std::uint64_t value = 0;
  for (const auto b : take_bytes(bytes)) {
    value = value << 8U | std::to_integer<std::uint64_t>(b);
  }
  return value;
}

std::uint32_t msgpack_reader::take_array() {
  const unsigned tag = take_tag();
  if ((tag & 0xf0U) == 0x90) {
    return tag & 0x0fU;
  }
  if (tag == 0xdc || tag == 0xdd) {
    return static_cast<std::uint32_t>(take_number(tag == 0xdc ? 2 : 4));
  }
  fail(wrong_type);
  return 0;
}

msgpack_reader::integer msgpack_reader::take_integer() {
  const unsigned tag = take_tag();
  if (tag < 0x80) {
    return {tag, false};
  }
  if (tag >= 0xe0) {
    return {static_cast<std::uint64_t>(static_cast<std::int64_t>(tag) - 0x100), true};
  }
  if (tag >= 0xcc && tag <= 0xcf) {
    return {take_number(1U << (tag - 0xcc)), false};
  }
  if (tag >= 0xd0 && tag <= 0xd3) {
    const unsigned bytes = 1U << (tag - 0xd0);
    const unsigned unused_bits = 64 - bytes * 8;
    const auto value = static_cast<std::int64_t>(take_number(bytes) << unused_bits) >> unused_bits;
    return {static_cast<std::uint64_t>(value), value < 0};
  }
  fail(wrong_type);
  return {};
}

std::uint64_t msgpack_reader::take_unsigned(std::uint64_t high) {
  const integer value = take_integer();
  if (value.is_negative || value.bits > high) {
    fail(out_of_range);
    return 0;
  }
  return value.bits;
}

std::int64_t msgpack_reader::take_signed(std::int64_t low, std::int64_t high) {
  const integer value = take_integer();
  const auto number = static_cast<std::int64_t>(value.bits);
  // A large unsigned number would look negative.
  if ((number < 0) != value.is_negative || number < low || number > high) {
    fail(out_of_range);
    return 0;
  }
  return number;
}

std::span<const std::byte> msgpack_reader::take_text() {
  const unsigned tag = take_tag();
  if ((tag & 0xe0U) == 0xa0) {
    return take_bytes(tag & 0x1fU);
  }
  if (tag >= 0xd9 && tag <= 0xdb) {
    return take_bytes(take_number(1U << (tag - 0xd9)));
  }
  return fail(wrong_type);
}

std::span<const std::byte> msgpack_reader::take_bin() {
  const unsigned tag = take_tag();
  if (tag >= 0xc4 && tag <= 0xc6) {
    return take_bytes(take_number(1U << (tag - 0xc4)));
  }
  return fail(wrong_type);
}

void msgpack_reader::skip_elements(std::uint64_t count, std::uint32_t depth) {
  if (depth == 0) {
    fail(too_deep);
    return;
  }
  // Every element takes at least one byte, so a false count ends with the input.
  for (std::uint64_t i = 0; i < count && !has_failed(); ++i) {
    skip(depth - 1);
  }
}

void msgpack_reader::skip(std::uint32_t depth) {
  const unsigned tag = take_tag();
  if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) {
    return; // small integer, nil, false, true
  }
  if (tag < 0x90) {
    skip_elements(std::uint64_t{tag & 0x0fU} * 2, depth);
  } else if (tag < 0xa0) {
    skip_elements(tag & 0x0fU, depth);
  } else if (tag < 0xc0) {
    take_bytes(tag & 0x1fU);
  } else if (tag >= 0xc4 && tag <= 0xc6) {
    take_bytes(take_number(1U << (tag - 0xc4)));
  } else if (tag >= 0xc7 && tag <= 0xc9) {
    take_bytes(take_number(1U << (tag - 0xc7)) + 1); // ext: a type byte and the data
  } else if (tag == 0xca || tag == 0xcb) {
    take_bytes(tag == 0xca ? 4 : 8);
  } else if (tag >= 0xcc && tag <= 0xcf) {
    take_bytes(std::uint64_t{1} << (tag - 0xcc));
  } else if (tag >= 0xd0 && tag <= 0xd3) {
    take_bytes(std::uint64_t{1} << (tag - 0xd0));
  } else if (tag >= 0xd4 && tag <= 0xd8) {
    take_bytes((std::uint64_t{1} << (tag - 0xd4)) + 1);
  } else if (tag >= 0xd9 && tag <= 0xdb) {
    take_bytes(take_number(1U << (tag - 0xd9)));
  } else if (tag == 0xdc || tag == 0xdd) {
    skip_elements(take_number(tag == 0xdc ? 2 : 4), depth);
  } else if (tag == 0xde || tag == 0xdf) {
    skip_elements(take_number(tag == 0xde ? 2 : 4) * 2, depth);
  } else {
    fail(wrong_type);
  }
}

} // namespace vdist::protocol
