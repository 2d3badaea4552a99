// actors/run/prompt_run.hpp — one prompt: its continuation streams to stdout, or comes as JSON lines.
#pragma once

#include "actors/system/engine.hpp"

#include "runtime/base/result.hpp"

#include <string>

namespace vdist::actors {

enum class prompt_output : std::uint8_t { stream, json };

/// Error: cancelled after an interrupt, else what the engine says.
[[nodiscard]] result<void> run_prompt(engine& engine,
                                      const std::string& prompt,
                                      const api::sampling_params& params,
                                      prompt_output output);

} // namespace vdist::actors
