// runtime/protocol/step_codec.hpp — step_plan and step_result as msgpack bytes and back.
// A message is one msgpack array with one element per field, in the order of the struct: numbers as
// msgpack integers, columns as `bin` of little-endian elements, text as `str`. Written and read by
// hand: the hot path builds no object tree, and decoding into a used object allocates nothing once
// its columns have grown. 256 decoding sequences: 0.3 µs each way (step_codec_bench).
//
// S-1 Fields are only appended. A short array keeps the defaults of the missing fields (columns
//     empty), unknown fields behind the known ones are skipped.
// S-2 Nothing is believed: types, ranges, sizes % element, nesting, count of fields and the
// consumed
//     length are checked; memory taken is never more than the input's own length. Error: corrupt,
//     and the target is then empty.
// S-3 The codec checks form only; validate() (step.hpp) checks meaning.
// Bytes of earlier builds are in tests/golden/step/v1 and must stay readable.
#pragma once

#include "runtime/protocol/step.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace vdist::protocol {

/// Ids and versions for the envelope of step messages. Numbers are never reused.
inline constexpr std::uint16_t step_protocol = 1;
inline constexpr std::uint16_t step_version = 1;
inline constexpr std::uint16_t step_plan_kind = 1;
inline constexpr std::uint16_t step_result_kind = 2;

/// Bounds of decode().
struct step_codec_limits {
  std::size_t message_bytes_max = std::size_t{64} << 20U; // whole message
  std::uint32_t fields_max = 64;                          // elements of the outer array
  std::uint32_t text_bytes_max = 4096;                    // step_result::message
};

/// Nesting of unknown fields that is still skipped.
inline constexpr std::uint32_t step_codec_depth_max = 8;

/// Replaces the contents of `out`; keeps its memory. Texts beyond text_bytes_max are cut.
void encode(const step_plan& plan, std::vector<std::byte>& out);
void encode(const step_result& result, std::vector<std::byte>& out);

/// Replaces the contents of the target; keeps its memory (S-1, S-2).
[[nodiscard]] result<void>
decode(std::span<const std::byte> bytes, step_plan& out, const step_codec_limits& limits = {});
[[nodiscard]] result<void>
decode(std::span<const std::byte> bytes, step_result& out, const step_codec_limits& limits = {});

} // namespace vdist::protocol
