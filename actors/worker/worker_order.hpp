// actors/worker/worker_order.hpp — a worker's order (runtime/protocol/worker.hpp) as the settings of the parts that
// it is made of. Threads and processes are made from the same order, so they cannot differ.
#pragma once

#include "actors/gateway/epoch_wiring.hpp"
#include "actors/gateway/worker_link.hpp"
#include "actors/worker/rank_runner.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/protocol/worker.hpp"

namespace vdist::actors {

/// Reads the model's config.json; the weights are read when the runner loads.
[[nodiscard]] result<rank_runner_config> runner_config_of(const protocol::worker_order& order);

[[nodiscard]] wiring_config wiring_of(const protocol::worker_order& order);
[[nodiscard]] protocol::plan_limits plan_limits_of(const protocol::worker_order& order);
[[nodiscard]] worker_identity identity_of(const protocol::worker_order& order);
/// Names what a worker was started for: who may adopt it compares. The same in every process of a build.
[[nodiscard]] std::uint64_t hash_of(const protocol::worker_order& order);
/// Names what a spare is prepared for: hash_of() of the order without its incarnation. Never 0.
[[nodiscard]] std::uint64_t spare_hash_of(protocol::worker_order order);
[[nodiscard]] step_watch_settings watch_settings_of(const protocol::worker_order& order);
[[nodiscard]] frame::wait_settings waits_of(const protocol::worker_order& order);

} // namespace vdist::actors
