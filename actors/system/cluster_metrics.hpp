// actors/system/cluster_metrics.hpp — the numbers of a cluster at a moment, from where they are counted.
#pragma once

#include "runtime/metrics/engine_sample.hpp"

#include <string>

namespace vdist::actors {

class cluster;
struct model_setup;

/// What requests, answers and metrics call the model.
[[nodiscard]] std::string served_name_of(const model_setup& setup);

/// Of one that has started; parts are read from it as long as it lives. Blocks for locks of the ledger and of step lanes,
/// which are held for microseconds. Without `is_draining`.
[[nodiscard]] metrics::engine_sample sample_of(const cluster& from);

} // namespace vdist::actors
