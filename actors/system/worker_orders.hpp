// actors/system/worker_orders.hpp — from the cluster's setup to the order of one worker.
#pragma once

#include "actors/system/model_setup.hpp"

#include "transport/frame/wait_policy.hpp"

#include "runtime/protocol/worker.hpp"

namespace vdist::actors {

/// The order of the worker at `slot` of a replica; the incarnation is filled in when it is started.
[[nodiscard]] protocol::worker_order order_of(const model_setup& setup,
                                              std::uint64_t cluster,
                                              std::int32_t replica,
                                              std::int32_t slot,
                                              const frame::wait_settings& waits);

} // namespace vdist::actors
