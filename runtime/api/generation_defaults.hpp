// runtime/api/generation_defaults.hpp — a model's generation_config.json: defaults below the user's
// values. The file comes with the checkpoint and is not trusted: values out of range are errors
// that name file and key; keys that vdist does not use are ignored, because every model family adds
// its own.
#pragma once

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace vdist::api {

struct generation_defaults {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<std::int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<std::int32_t>
      max_new_tokens;            // goes to model_limits: bounds a request that names no max_tokens
  std::vector<token_id> eos_ids; // empty: the model's config.json says
  std::optional<token_id> bos_id;

  friend bool operator==(const generation_defaults&, const generation_defaults&) = default;
};

/// Parses the text of a generation_config.json; `name` stands for the file in messages. Error:
/// corrupt.
[[nodiscard]] result<generation_defaults> parse_generation_config(std::string_view text,
                                                                  std::string_view name);

/// What a request that sets nothing uses: the model's values where it has some, neutral ones
/// elsewhere.
[[nodiscard]] sampling_params default_params(const generation_defaults& defaults);

} // namespace vdist::api
