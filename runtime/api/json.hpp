// runtime/api/json.hpp — JSON from outside: bounded, strict, never an exception. Internal to the
// sources of this folder and of openai/.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::api {

/// Bytes of a rejected value that a message shows.
inline constexpr std::size_t shown_bytes_max = 80;

/// Parses one object. Refused: invalid UTF-8, anything but an object, doubled keys, more than
/// `depth_max` levels, text behind the object. The error's text is the cause alone; its code is
/// invalid_argument.
[[nodiscard]] result<nlohmann::json> parse_object(std::string_view text, std::size_t depth_max);

/// Offset of the first byte that is not part of a valid UTF-8 sequence (surrogates and overlong
/// forms are not valid).
[[nodiscard]] std::optional<std::size_t> invalid_utf8_at(std::string_view text) noexcept;

/// Characters of `text` once what is not UTF-8 has become U+FFFD.
[[nodiscard]] std::size_t count_characters(std::string_view text) noexcept;

/// A value for a message: short, on one line, valid UTF-8.
[[nodiscard]] std::string shown(const nlohmann::json& value);
[[nodiscard]] std::string shown_text(std::string_view text);

/// Appends `text` as a JSON string, in the form of dump_line(): quoted, escaped where it must be, U+FFFD for what is
/// not UTF-8. A copy where nothing needs an escape.
void append_json_string(std::string& out, std::string_view text);

/// One line of JSON; what is not valid UTF-8 in strings becomes U+FFFD.
[[nodiscard]] std::string dump_line(const nlohmann::ordered_json& value);

} // namespace vdist::api
