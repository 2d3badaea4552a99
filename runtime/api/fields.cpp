#include "runtime/api/fields.hpp"

#include "runtime/api/json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

namespace vdist::api {

namespace {

using nlohmann::json;

error wrong_type(std::string_view field, std::string_view legal, const json& value) {
  return fail(errc::invalid_argument,
              fmt::format("{} must be {} (got {})", field, legal, shown(value)));
}

result<void> read_stop(std::string_view field, const json& value, std::vector<std::string>& stop) {
  stop.clear();
  if (value.is_string()) {
    stop.push_back(value.get<std::string>());
    return {};
  }
  const bool is_list =
      value.is_array()
      && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
  if (!is_list) {
    return wrong_type(field, "a string or a list of strings", value);
  }
  if (value.size() > stop_strings_max) {
    return wrong_type(field, fmt::format("a list of at most {} strings", stop_strings_max), value);
  }
  stop = value.get<std::vector<std::string>>();
  return {};
}

/// {"318": -100, "50256": 5}: token ids are strings, because JSON keys are.
result<void> read_bias(std::string_view field,
                       const json& value,
                       std::vector<std::pair<token_id, float>>& bias) {
  if (!value.is_object()) {
    return wrong_type(field, "an object of token id to bias", value);
  }
  if (value.size() > logit_bias_entries_max) {
    return fail(errc::invalid_argument,
                fmt::format("{} has too many entries (entries={}); legal: at most {}",
                            field,
                            value.size(),
                            logit_bias_entries_max));
  }
  bias.clear();
  for (const auto& [key, entry] : value.items()) {
    token_id id = -1;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (code != std::errc() || end != key.data() + key.size() || id < 0) {
      return fail(
          errc::invalid_argument,
          fmt::format("{} must have token ids as names (got \"{}\")", field, shown_text(key)));
    }
    VDIST_ASSIGN(const float number, read_float(field, entry));
    bias.emplace_back(id, number);
  }
  std::sort(bias.begin(), bias.end());
  const auto same = std::adjacent_find(
      bias.begin(), bias.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (same != bias.end()) {
    return fail(errc::invalid_argument,
                fmt::format("{} names token id {} twice", field, same->first));
  }
  return {};
}

/// -1 means "no seed", as in other engines.
result<void>
read_seed(std::string_view field, const json& value, std::optional<std::uint64_t>& seed) {
  if (value.is_number_unsigned()) {
    seed = value.get<std::uint64_t>();
    return {};
  }
  if (value.is_number_integer() && value.get<std::int64_t>() == -1) {
    seed.reset();
    return {};
  }
  return wrong_type(field, "an integer from 0 to 18446744073709551615, or -1 for none", value);
}

template <class T>
using member = T sampling_params::*;

template <class T, std::size_t N>
using members = std::array<std::pair<std::string_view, member<T>>, N>;

constexpr members<float, 6> float_members{
    {{"temperature", &sampling_params::temperature},
     {"top_p", &sampling_params::top_p},
     {"min_p", &sampling_params::min_p},
     {"repetition_penalty", &sampling_params::repetition_penalty},
     {"presence_penalty", &sampling_params::presence_penalty},
     {"frequency_penalty", &sampling_params::frequency_penalty}}};
constexpr members<std::int32_t, 4> int_members{{{"top_k", &sampling_params::top_k},
                                                {"min_tokens", &sampling_params::min_tokens},
                                                {"n", &sampling_params::n},
                                                {"priority", &sampling_params::priority}}};
constexpr members<std::optional<std::int32_t>, 2> optional_members{
    {{"max_tokens", &sampling_params::max_tokens}, {"logprobs", &sampling_params::logprobs}}};
constexpr members<bool, 3> bool_members{
    {{"ignore_eos", &sampling_params::ignore_eos},
     {"include_stop_str_in_output", &sampling_params::include_stop_str_in_output},
     {"skip_special_tokens", &sampling_params::skip_special_tokens}}};

/// Stores the field if the table names it.
template <class Members, class Read>
result<bool> read_member(std::string_view field,
                         const json& value,
                         const Members& table,
                         Read read,
                         sampling_params& params) {
  for (const auto& [name, pointer] : table) {
    if (name == field) {
      if (!value.is_null()) {
        VDIST_ASSIGN(params.*pointer, read(field, value));
      }
      return true;
    }
  }
  return false;
}

/// Parameters that are not one number.
result<bool> read_structured(std::string_view field, const json& value, sampling_params& params) {
  const bool is_set = !value.is_null();
  if (field == "seed") {
    VDIST_TRY(is_set ? read_seed(field, value, params.seed) : result<void>());
  } else if (field == "stop") {
    VDIST_TRY(is_set ? read_stop(field, value, params.stop) : result<void>());
  } else if (field == "logit_bias") {
    VDIST_TRY(is_set ? read_bias(field, value, params.logit_bias) : result<void>());
  } else if (field == "stop_token_ids") {
    if (is_set) {
      VDIST_ASSIGN(params.stop_token_ids, read_token_ids(field, value, stop_token_ids_max));
    }
  } else {
    return false;
  }
  return true;
}

} // namespace

result<float> read_float(std::string_view field, const json& value) {
  if (!value.is_number()) {
    return wrong_type(field, "a number", value);
  }
  const double number = value.get<double>();
  if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    return wrong_type(field, "a number that fits 32 bits", value);
  }
  return static_cast<float>(number);
}

result<bool> read_bool(std::string_view field, const json& value) {
  if (!value.is_boolean()) {
    return wrong_type(field, "true or false", value);
  }
  return value.get<bool>();
}

result<std::int32_t> read_int32(std::string_view field, const json& value) {
  // Unsigned values beyond int64 would wrap around in get<int64>: they are compared as what they
  // are.
  const bool is_huge = value.is_number_unsigned()
                       && value.get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max();
  if (!value.is_number_integer() || is_huge
      || value.get<std::int64_t>() < std::numeric_limits<std::int32_t>::min()) {
    return wrong_type(field, "an integer of 32 bits", value);
  }
  return value.get<std::int32_t>();
}

result<std::vector<token_id>>
read_token_ids(std::string_view field, const json& value, std::size_t count_max) {
  if (!value.is_array()) {
    return wrong_type(field, "a list of token ids", value);
  }
  if (value.size() > count_max) {
    return fail(errc::invalid_argument,
                fmt::format("{} has too many entries (entries={}); legal: at most {}",
                            field,
                            value.size(),
                            count_max));
  }
  std::vector<token_id> ids;
  ids.reserve(value.size());
  for (const json& entry : value) {
    VDIST_ASSIGN(const token_id id, read_int32(field, entry));
    if (id < 0) {
      return wrong_type(field, "a list of token ids, none negative", entry);
    }
    ids.push_back(id);
  }
  return ids;
}

result<bool> read_param(std::string_view field, const json& value, sampling_params& params) {
  VDIST_ASSIGN(const bool is_float, read_member(field, value, float_members, read_float, params));
  VDIST_ASSIGN(const bool is_int, read_member(field, value, int_members, read_int32, params));
  VDIST_ASSIGN(const bool is_optional,
               read_member(field, value, optional_members, read_int32, params));
  VDIST_ASSIGN(const bool is_bool, read_member(field, value, bool_members, read_bool, params));
  if (is_float || is_int || is_optional || is_bool) {
    return true;
  }
  return read_structured(field, value, params);
}

} // namespace vdist::api
