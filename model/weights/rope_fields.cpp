#include "model/weights/rope_fields.hpp"

#include "model/weights/config_fields.hpp"

#include <cmath>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace vdist::weights {

namespace {

constexpr number_bounds<double> theta_bounds{1.0, 1e12};
constexpr number_bounds<double> factor_bounds{1e-3, 1e6};
constexpr number_bounds<double> stretch_bounds{1.0, 1e6};
constexpr number_bounds<double> share_bounds{1e-3, 1.0};
// The logarithm of the length divides: 1 is too short.
constexpr number_bounds<std::int64_t> original_bounds{2, max_config_positions};
constexpr std::string_view original_key = "original_max_position_embeddings";

// Not here: "dynamic", whose frequencies follow the length of a sequence as it grows, so that keys
// in the cache would have to be computed again; "yarn".
constexpr std::array rope_words{
    word{"default", rope_scaling_kind::none},
    word{"linear", rope_scaling_kind::linear},
    word{"llama3", rope_scaling_kind::llama3},
    word{"longrope", rope_scaling_kind::longrope},
    word{"su", rope_scaling_kind::longrope}, // its name in early files
};

result<void> require(const json_object& scaling, std::string_view key, std::string_view legal) {
  if (!scaling.has(key)) {
    return scaling.failure(errc::corrupt, "missing key", key, legal);
  }
  return {};
}

result<void> read_llama3(rope_config& rope, const json_object& scaling) {
  for (const std::string_view key : {"low_freq_factor", "high_freq_factor"}) {
    VDIST_TRY(require(scaling, key, "a number; llama3 scaling needs it"));
  }
  VDIST_TRY(require(scaling, original_key, "an integer; llama3 scaling needs it"));
  VDIST_TRY(read_into(rope.low_freq_factor, scaling, "low_freq_factor", factor_bounds));
  VDIST_TRY(read_into(rope.high_freq_factor, scaling, "high_freq_factor", factor_bounds));
  VDIST_TRY(read_into(rope.original_max_positions, scaling, original_key, original_bounds));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return scaling.failure(errc::corrupt,
                           "illegal value",
                           "high_freq_factor",
                           fmt::format("above low_freq_factor = {}", rope.low_freq_factor));
  }
  return {};
}

result<std::vector<double>>
read_factors(const json_object& scaling, std::string_view key, std::int32_t rotary_dim) {
  VDIST_ASSIGN(auto factors, scaling.numbers(key, factor_bounds));
  if (factors.size() != static_cast<std::size_t>(rotary_dim) / 2) {
    return scaling.failure(errc::corrupt,
                           "a factor for every frequency is needed",
                           key,
                           fmt::format("list of {} numbers", rotary_dim / 2));
  }
  return factors;
}

/// The trained length stands beside the scaling in older files and wins there, as in the reference.
result<void> read_longrope(rope_config& rope,
                           const json_object& scaling,
                           const json_object& file,
                           std::int32_t max_positions) {
  const json_object& holder = file.has(original_key) ? file : scaling;
  VDIST_TRY(require(holder, original_key, "an integer; longrope scaling needs it"));
  VDIST_TRY(read_into(rope.original_max_positions, holder, original_key, original_bounds));
  VDIST_ASSIGN(rope.short_factors, read_factors(scaling, "short_factor", rope.rotary_dim));
  VDIST_ASSIGN(rope.long_factors, read_factors(scaling, "long_factor", rope.rotary_dim));
  rope.factor = static_cast<double>(max_positions) / rope.original_max_positions;
  VDIST_TRY(read_into(rope.factor, scaling, "factor", factor_bounds));
  if (rope.factor > 1) {
    rope.amplitude = std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_max_positions));
  }
  return read_into(rope.amplitude, scaling, "attention_factor", factor_bounds);
}

result<void> read_scaling(rope_config& rope,
                          const json_object& scaling,
                          const json_object& file,
                          std::int32_t max_positions) {
  // Older files say "type"; where both stand, "rope_type" is the one that is read by the reference.
  const std::string_view kind_key =
      scaling.has("rope_type") || !scaling.has("type") ? "rope_type" : "type";
  VDIST_ASSIGN(rope.scaling, look_up(scaling, kind_key, rope_words, rope_scaling_kind::none));
  if (rope.scaling == rope_scaling_kind::none) {
    return {};
  }
  if (rope.scaling == rope_scaling_kind::longrope) {
    return read_longrope(rope, scaling, file, max_positions);
  }
  VDIST_TRY(require(scaling, "factor", "number from 1 to 1e6"));
  VDIST_TRY(read_into(rope.factor, scaling, "factor", stretch_bounds));
  return rope.scaling == rope_scaling_kind::llama3 ? read_llama3(rope, scaling) : result<void>();
}

} // namespace

result<void> read_rope(model_config& config, const json_object& file) {
  rope_config rope;
  double share = 1.0; // of a head that is rotated
  VDIST_TRY(read_into(rope.theta, file, "rope_theta", theta_bounds));
  VDIST_TRY(read_into(share, file, "partial_rotary_factor", share_bounds));
  // rope_scaling is the older name; where both stand, the reference reads it.
  VDIST_ASSIGN(const auto scaling,
               file.object(file.has("rope_scaling") ? "rope_scaling" : "rope_parameters"));
  if (scaling) {
    VDIST_TRY(read_into(rope.theta, *scaling, "rope_theta", theta_bounds));
    VDIST_TRY(read_into(share, *scaling, "partial_rotary_factor", share_bounds));
  }
  rope.rotary_dim = static_cast<std::int32_t>(config.head_dim * share);
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0) {
    return file.failure(errc::corrupt,
                        "rotated part of a head is not even",
                        "partial_rotary_factor",
                        fmt::format("an even part of head_dim = {}", config.head_dim));
  }
  if (scaling) {
    VDIST_TRY(read_scaling(rope, *scaling, file, config.max_positions));
  }
  config.rope = std::move(rope);
  return {};
}

} // namespace vdist::weights
