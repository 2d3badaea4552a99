// runtime/protocol/msgpack_fields.hpp — structs as msgpack arrays, for messages off the step path;
// internal to runtime/protocol. A struct is written down once, as a function that shows its fields:
//   template <class Visit> void fields(auto& message, Visit&& visit) { visit(message.a, message.b); }
// Decoding passes limits to the library, believes no type and checks that all bytes were used. It takes memory in proportion to
// the message, whatever that claims.
#pragma once

#include "runtime/base/result.hpp"

#include <msgpack.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace vdist::protocol {

/// Bounds of one message.
inline constexpr std::size_t message_items_max = 65536; // of one array
inline constexpr std::size_t message_bytes_max = std::size_t{4} << 20U;

/// Appends to a vector of bytes.
class byte_sink {
public:
  explicit byte_sink(std::vector<std::byte>& out) : out_(&out) {}

  void write(const char* data, std::size_t size) {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    out_->insert(out_->end(), bytes, bytes + size);
  }

private:
  std::vector<std::byte>* out_;
};

/// Enums travel as their numbers, bytes as bin.
template <class Packer, class Field>
void pack_field(Packer& packer, const Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    packer.pack(static_cast<std::underlying_type_t<Field>>(field));
  } else if constexpr (std::is_same_v<Field, std::vector<std::byte>>) {
    packer.pack_bin(static_cast<std::uint32_t>(field.size()));
    packer.pack_bin_body(reinterpret_cast<const char*>(field.data()),
                         static_cast<std::uint32_t>(field.size()));
  } else {
    packer.pack(field);
  }
}

template <class Field>
void unpack_field(const msgpack::object& from, Field& field) {
  if constexpr (std::is_enum_v<Field>) {
    field = static_cast<Field>(from.as<std::underlying_type_t<Field>>());
  } else if constexpr (std::is_same_v<Field, std::vector<std::byte>>) {
    if (from.type != msgpack::type::BIN) {
      throw msgpack::type_error();
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(from.via.bin.ptr);
    field.assign(bytes, bytes + from.via.bin.size);
  } else {
    from.convert(field);
  }
}

/// `show(visit)` calls visit with all fields.
template <class Show>
void pack_fields(std::vector<std::byte>& out, Show&& show) {
  byte_sink sink(out);
  msgpack::packer<byte_sink> packer(sink);
  show([&packer](const auto&... field) {
    packer.pack_array(static_cast<std::uint32_t>(sizeof...(field)));
    (pack_field(packer, field), ...);
  });
}

/// Error: corrupt, naming `what`.
template <class Show>
[[nodiscard]] result<void>
unpack_fields(std::span<const std::byte> bytes, const char* what, Show&& show) {
  try {
    // The library makes room for what an array claims to have; no element is shorter than a byte.
    const auto items_max = std::min(message_items_max, bytes.size());
    const msgpack::unpack_limit limits(items_max, 0, message_bytes_max, message_bytes_max, 0, 4);
    std::size_t used = 0;
    const auto handle = msgpack::unpack(
        reinterpret_cast<const char*>(bytes.data()), bytes.size(), used, nullptr, nullptr, limits);
    const auto& root = handle.get();
    if (root.type != msgpack::type::ARRAY || used != bytes.size()) {
      return fail(errc::corrupt, std::string(what) + ": not one msgpack array");
    }
    show([&root](auto&... field) {
      std::uint32_t index = 0;
      const auto take = [&root, &index](auto& one) {
        if (index < root.via.array.size) {
          unpack_field(root.via.array.ptr[index], one);
        }
        ++index;
      };
      (take(field), ...);
    });
    return {};
  } catch (const std::exception& cause) {
    return fail(errc::corrupt, std::string(what) + ": " + cause.what());
  }
}

} // namespace vdist::protocol
