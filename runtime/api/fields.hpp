// runtime/api/fields.hpp — JSON fields of sampling parameters → sampling_params. Internal to the
// sources of this folder and of openai/.
#pragma once

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/result.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace vdist::api {

/// Reads one number, whole or not, into a float. Errors name the field; the code is
/// invalid_argument.
[[nodiscard]] result<float> read_float(std::string_view field, const nlohmann::json& value);
[[nodiscard]] result<bool> read_bool(std::string_view field, const nlohmann::json& value);
/// Reads a whole number that fits 32 bits.
[[nodiscard]] result<std::int32_t> read_int32(std::string_view field, const nlohmann::json& value);
/// Reads a list of whole, non-negative numbers that fit 32 bits, at most `count_max`.
[[nodiscard]] result<std::vector<token_id>>
read_token_ids(std::string_view field, const nlohmann::json& value, std::size_t count_max);

/// Stores a field if it is a sampling parameter. False: it is not one. Types are checked here,
/// ranges by validate(). null leaves the parameter as it is, as the OpenAI API has it.
[[nodiscard]] result<bool>
read_param(std::string_view field, const nlohmann::json& value, sampling_params& params);

} // namespace vdist::api
