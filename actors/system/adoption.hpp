// actors/system/adoption.hpp — what a control process finds when it starts: nobody, or the workers of one that has died. Those
// that were started for the very order that it would give itself are adopted; all others are ended before anything begins.
//
// A-1 Of a rank at most one incarnation is adopted, the last one that there was, and only while its control words can go
//     on: a predecessor that was about to end for good has raised the fence above every epoch.
//     Every other one, also one that has halted and may still write (supervisor R-12), is waited for: what dies later the new
//     supervisor hears of.
// A-2 Links of incarnations that nobody will speak to any more are given back.
// Cost: a request to the vault per replica, and some per rank if there was a predecessor.
#pragma once

#include "actors/supervisor/recovery.hpp"
#include "actors/system/isolation.hpp"
#include "actors/system/model_setup.hpp"

#include "transport/frame/wait_policy.hpp"

#include "runtime/base/result.hpp"

#include <vector>

namespace vdist::actors {

/// By replica and slot; empty: there is no predecessor. Before any actor starts and the words of replicas are mapped. Errors: timed_out (a worker does not end), closed, and
/// those of the vault.
[[nodiscard]] result<std::vector<std::vector<supervisor::slot_start>>>
find_workers(isolated_parts& parts, const model_setup& setup, const frame::wait_settings& waits);

} // namespace vdist::actors
