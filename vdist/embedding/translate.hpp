// vdist/embedding/translate.hpp — between the words of the public API and those of the engine. Pure functions.
#pragma once

#include "actors/front_door/text_stream.hpp"
#include "actors/system/engine.hpp"
#include "actors/system/layer_watch.hpp"
#include "actors/system/model_inspection.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "vdist/engine.hpp"

namespace vdist::embedding {

[[nodiscard]] engine_error to_public(const error& cause);

/// `defaults`: what the model recommends.
[[nodiscard]] actors::generate_request to_internal(const generate_request& request,
                                                   api::sampling_params defaults);

[[nodiscard]] token_event to_event(std::int32_t sequence, actors::text_chunk chunk);

[[nodiscard]] engine_stats to_public(const actors::engine_status& status);

[[nodiscard]] model_description to_public(actors::model_description model);

[[nodiscard]] layer_row to_public(actors::layer_row row);

/// "full.key=value" for every field that is set, then `settings`.
[[nodiscard]] std::vector<std::string> to_settings(const engine_config& config);

} // namespace vdist::embedding
