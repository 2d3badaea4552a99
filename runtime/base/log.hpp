// runtime/base/log.hpp — log lines to stderr: `operation: cause (key=value)`, lower case, no full
// stop. stdout belongs to results. The level comes from the configuration, not from the
// environment.
#pragma once

#include <spdlog/spdlog.h>
#include <string_view>

namespace vdist::log {

/// Routes all log lines to stderr at this level: trace, debug, info, warn, error, off. Call once,
/// from main. Unknown names mean info.
void initialise(std::string_view level);

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::trace;
using spdlog::warn;

} // namespace vdist::log
