// runtime/api/openai/passive_fields.hpp — the one table of parameters that have no effect here: which may be there, with
// which values, and why. Everything that is neither here nor obeyed is unknown and refused.
#pragma once

#include "runtime/api/openai/api_error.hpp"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

namespace vdist::api::openai {

enum class endpoint : std::uint8_t { completions = 1, chat = 2, both = 3 };

/// Values, beside null, that change nothing.
enum class harmless : std::uint8_t {
  any_string,
  any_object,
  one_value, // passive_field::value: what happens here anyway
  none,
};

struct passive_field {
  std::string_view name;
  endpoint where = endpoint::both;
  harmless values = harmless::none;
  std::string_view value;  // JSON; of one_value
  std::string_view reason; // why its values are harmless, or what there is instead
};

[[nodiscard]] std::span<const passive_field> passive_fields() noexcept;

/// Success when the value changes nothing. Else the field is refused by name: as unsupported, or as unknown when it is
/// not in the table of this endpoint.
[[nodiscard]] answer<void>
check_passive(endpoint where, std::string_view field, const nlohmann::json& value);

} // namespace vdist::api::openai
