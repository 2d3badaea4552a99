// runtime/text/byte_level.hpp — GPT-2's way to write any byte as a visible character: 256
// characters for 256 bytes. Printable Latin-1 bytes stand for themselves, the others for U+0100 …
// U+0143 in rising order.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::text {

/// Bytes to characters: the text that byte-level vocabularies are written in.
[[nodiscard]] std::string to_byte_level(std::string_view bytes);

/// Characters to bytes; nothing when a character stands for no byte.
[[nodiscard]] std::optional<std::string> from_byte_level(std::string_view utf8);

} // namespace vdist::text
