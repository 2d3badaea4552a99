// model/weights/rope_fields.hpp — what a config.json says about rotary positions; private to this
// folder. A scaling that this build cannot run is refused by name: positions that are slightly off
// still give fluent text, so nobody would notice.
#pragma once

#include "model/weights/json_object.hpp"
#include "model/weights/model_config.hpp"

#include "runtime/base/result.hpp"

namespace vdist::weights {

/// Fills config.rope; head_dim and max_positions are read already.
[[nodiscard]] result<void> read_rope(model_config& config, const json_object& file);

} // namespace vdist::weights
