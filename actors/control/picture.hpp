// actors/control/picture.hpp — a cluster's state as text for a terminal. Pure functions; lines end with '\n' and have at most
// 80 columns as long as names are of common length.
#pragma once

#include "actors/control/cluster_status.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace vdist::control {

/// Whether escape sequences for colours may be used: on a terminal only.
enum class paint : std::uint8_t { plain, colour };

/// What was asked before, for rates.
using earlier_status = std::optional<cluster_status>;

/// Tables: the cluster, its replicas, its workers, its other processes.
[[nodiscard]] std::string
draw_status(const cluster_status& status, const earlier_status& earlier, paint how);

/// One block per replica, one box per stage, one cell per worker: data × pipeline × tensor.
[[nodiscard]] std::string draw_topology(const cluster_status& status, paint how);

[[nodiscard]] std::string draw_ledger(const ledger_page& page);

/// The armed rules with their hits.
[[nodiscard]] std::string draw_faults(const fault_page& page);

} // namespace vdist::control
