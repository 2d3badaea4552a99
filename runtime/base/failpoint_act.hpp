// runtime/base/failpoint_act.hpp — the actions of failpoints that end, hold or slow the own process. Internal to the folder.
#pragma once

#include <chrono>
#include <cstdint>

namespace vdist {

/// SIGKILL to the own process; does not return.
void end_self();

/// Stops all threads of the process; the kernel continues them after `pause`, or somebody else
/// before. Returns then.
void stop_self(std::chrono::milliseconds pause);

} // namespace vdist
