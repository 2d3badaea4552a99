// actors/system/cluster_details.hpp — what the engine knows of itself, put into the words of operators (actors/control). Pure
// functions: the engine gathers, these translate.
#pragma once

#include "actors/control/cluster_status.hpp"
#include "actors/interfaces.hpp"
#include "actors/system/capacity_book.hpp"
#include "actors/system/model_setup.hpp"

#include "runtime/base/result.hpp"
#include "runtime/ledger/ledger.hpp"
#include "runtime/metrics/step_times.hpp"
#include "runtime/sched/scheduler.hpp"

#include <cstdint>
#include <span>
#include <string_view>

#include "host/host_link.hpp"

namespace vdist::actors {

/// What steps cost beyond the work of their slowest workers: plan, send, commit, and the rest of
/// collecting. Nanoseconds since the start.
[[nodiscard]] std::uint64_t control_ns_of(const metrics::step_times& times);

/// loading, running, recovering, failed: for operators and metrics (metrics::replica_states).
[[nodiscard]] std::string_view to_text(replica_state state);

/// What never changes while the cluster lives.
[[nodiscard]] control::cluster_status describe_cluster(const model_setup& setup);

/// What one replica says of itself. A supervisor that did not answer in time leaves an empty
/// `status`; then the state is "unknown" and no workers are listed.
struct replica_view {
  const metrics::step_times* times = nullptr;
  sched::scheduler_stats scheduler;
  replica_status status;
  replica_capacity capacity;
  time_point now;
};

[[nodiscard]] control::replica_details
describe_replica(const model_setup& setup,
                 const replica_view& view,
                 std::span<const host::process_info> processes);

/// Sums over all replicas; why, of the one that was lost last.
[[nodiscard]] control::capacity_details
sum_of_capacities(std::span<const control::replica_details> replicas);

/// The newest `max` of what the ledger holds, in order of arrival.
[[nodiscard]] control::ledger_page
describe_ledger(const ledger::ledger& journal, std::size_t max, time_point now);

/// `processes` is empty when workers are threads. Error: invalid_argument, names the legal targets.
[[nodiscard]] result<void> check_target(const control::kill_target& target,
                                        const model_setup& setup,
                                        std::span<const host::process_info> processes);

/// The process that is meant. Error: not_found (a worker between two incarnations).
[[nodiscard]] result<host::process_info>
find_process(const control::kill_target& target, std::span<const host::process_info> processes);

} // namespace vdist::actors
