// runtime/protocol/request_codec.hpp — a request as msgpack bytes and back: what the ledger keeps of
// everything it accepted. One msgpack array with one element per field, in the order of the struct:
// numbers as msgpack integers, lists of ids as `bin` of little-endian elements, logit_bias as two
// such lists, the sampling record as `bin`. Written by hand for the same reason as the step codec:
// a prompt is copied, not parsed.
//
// C-1 Fields are only appended, also to the sampling record. What is missing keeps its default,
//     unknown fields behind the known ones are skipped.
// C-2 Nothing is believed: types, ranges, sizes % element, nesting and the consumed length are
//     checked; memory taken is never more than twice the input's own length. Error: corrupt.
// C-3 The length is known before: at most request_fixed_bytes, four bytes per id and eight per bias.
// C-4 Two requests with one body_hash ask for the same (XXH3 of the encoded fields that the client decides; 64 bits).
#pragma once

#include "runtime/protocol/request.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace vdist::protocol {

/// Bytes of an encoded request besides its lists (C-3): array, integers, heads, sampling record.
inline constexpr std::size_t request_fixed_bytes = 81 + sizeof(sampling_record);

/// Replaces the contents of `out`; keeps its memory.
void encode(const request& value, std::vector<std::byte>& out);

/// C-1, C-2. The form only: whether ids are in the vocabulary is for others to check.
[[nodiscard]] result<request> decode_request(std::span<const std::byte> bytes);

/// C-4. Of all fields but those that are given on the way: id, arrival, generated; and the key. Keep
/// it within a run: an appended field changes it. O(prompt).
[[nodiscard]] std::uint64_t body_hash(const request& value);

} // namespace vdist::protocol
