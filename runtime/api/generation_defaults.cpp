#include "runtime/api/generation_defaults.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api {

namespace {

using nlohmann::json;

constexpr std::size_t generation_config_bytes_max = 1 << 20;
/// Other tools keep objects of their own in the file, for example assisted decoding and watermarks.
constexpr std::size_t generation_config_depth_max = 16;
constexpr std::size_t eos_ids_max = 64;

/// A field that is missing or null stays unset.
template <class T, class Read>
result<void>
read_optional(const json& object, const char* field, Read read, std::optional<T>& out) {
  const auto found = object.find(field);
  if (found != object.end() && !found->is_null()) {
    VDIST_ASSIGN(out, read(field, *found));
  }
  return {};
}

result<generation_defaults> read_fields(const json& object) {
  generation_defaults d;
  VDIST_TRY(read_optional(object, "temperature", read_float, d.temperature));
  VDIST_TRY(read_optional(object, "top_p", read_float, d.top_p));
  VDIST_TRY(read_optional(object, "top_k", read_int32, d.top_k));
  VDIST_TRY(read_optional(object, "min_p", read_float, d.min_p));
  VDIST_TRY(read_optional(object, "repetition_penalty", read_float, d.repetition_penalty));
  VDIST_TRY(read_optional(object, "max_new_tokens", read_int32, d.max_new_tokens));
  VDIST_TRY(read_optional(object, "bos_token_id", read_int32, d.bos_id));
  const auto eos = object.find("eos_token_id");
  if (eos != object.end() && !eos->is_null()) {
    const json list = eos->is_array() ? *eos : json::array({*eos});
    VDIST_ASSIGN(d.eos_ids, read_token_ids("eos_token_id", list, eos_ids_max));
  }
  sampling_params checked = default_params(d);
  checked.max_tokens = d.max_new_tokens;
  VDIST_TRY(validate(checked));
  return d;
}

} // namespace

result<generation_defaults> parse_generation_config(std::string_view text, std::string_view name) {
  const auto corrupt = [name](std::string_view cause) {
    return fail(errc::corrupt, fmt::format("{}: {}", name, cause));
  };
  if (text.size() > generation_config_bytes_max) {
    return corrupt(fmt::format(
        "too large (bytes={}); legal: at most {}", text.size(), generation_config_bytes_max));
  }
  const result<json> object = parse_object(text, generation_config_depth_max);
  if (!object) {
    return corrupt(object.error().context);
  }
  result<generation_defaults> defaults = read_fields(*object);
  return defaults ? defaults : corrupt(defaults.error().context);
}

sampling_params default_params(const generation_defaults& defaults) {
  sampling_params p;
  p.temperature = defaults.temperature.value_or(p.temperature);
  p.top_p = defaults.top_p.value_or(p.top_p);
  p.top_k = defaults.top_k.value_or(p.top_k);
  p.min_p = defaults.min_p.value_or(p.min_p);
  p.repetition_penalty = defaults.repetition_penalty.value_or(p.repetition_penalty);
  return p;
}

} // namespace vdist::api
