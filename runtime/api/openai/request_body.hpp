// runtime/api/openai/request_body.hpp — from bytes to fields: what the parsers of all endpoints share. Internal to the
// folder's sources.
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/passive_fields.hpp"
#include "runtime/api/openai/request.hpp"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::api::openai {

/// The text of a body without a byte order mark: what json_scan.hpp works on.
[[nodiscard]] std::string_view body_text(std::string_view bytes) noexcept;

/// Parses a body: 413 beyond body_bytes_max, 400 when it is not one JSON object within body_depth_max.
[[nodiscard]] answer<nlohmann::json> read_body(std::string_view text, const request_limits& limits);

enum class model_name : std::uint8_t { required, optional };

/// The field `model`; the first of limits.models where it may be missing. 404 for a name that is not served.
[[nodiscard]] answer<std::string>
read_model(const nlohmann::json& body, const request_limits& limits, model_name need);

/// Readers of one field: null leaves `out` as it is.
[[nodiscard]] answer<void>
read_flag(std::string_view field, const nlohmann::json& value, bool& out);
[[nodiscard]] answer<void>
read_text(std::string_view field, const nlohmann::json& value, std::string& out);

/// Takes a field that completions and chats share, or refuses it by name.
[[nodiscard]] answer<void> take_shared(endpoint where,
                                       std::string_view field,
                                       const nlohmann::json& value,
                                       generation_request& request);

/// What can only be said once all fields are there: ranges, and streaming options without a stream.
[[nodiscard]] answer<void> check_shared(const nlohmann::json& body,
                                        const generation_request& request);

} // namespace vdist::api::openai
