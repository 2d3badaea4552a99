// model/weights/generation_config.hpp — generation_config.json: the sampling that a model's makers
// recommend. Unset means that the file says nothing; the engine's own defaults apply then.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace vdist::weights {

struct generation_config {
  std::optional<bool> do_sample;            // false: greedy
  std::optional<double> temperature;        // >= 0
  std::optional<double> top_p;              // (0, 1]
  std::optional<double> min_p;              // [0, 1]
  std::optional<std::int32_t> top_k;        // >= 0; 0: off
  std::optional<double> repetition_penalty; // > 0
  std::optional<token_id> bos;
  std::vector<token_id> eos; // empty: use model_config::eos
};

[[nodiscard]] result<generation_config> parse_generation_config(std::string_view text,
                                                                std::string_view origin);

/// Reads folder/generation_config.json; a missing file gives an empty configuration.
[[nodiscard]] result<generation_config> read_generation_config(const std::filesystem::path& folder);

} // namespace vdist::weights
