// runtime/metrics/engine_sample.hpp — everything that an engine can say of itself at a moment without asking an actor, and
// what of it is on a page of metrics. The families and their meanings: engine_sample.cpp.
//
// P-1 The page has the same series from the first moment on: of a replica that is not there yet, and of faults that have
// not happened, zeros. P-2 Names, labels and meanings are vLLM's where it has the metric; `engine` is the replica's index.
#pragma once

#include "runtime/metrics/capacity.hpp"
#include "runtime/metrics/exposition.hpp"
#include "runtime/metrics/recovery_metrics.hpp"
#include "runtime/metrics/request_metrics.hpp"
#include "runtime/metrics/step_times.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::metrics {

/// In which a replica can be; `loading` is also one that is not there yet.
inline constexpr std::array<std::string_view, 4> replica_states{
    "loading", "running", "recovering", "failed"};

/// What the driver may say of a GPU, by what follows (kernels/device_fault.hpp).
inline constexpr std::array<std::string_view, 4> device_event_classes{
    "none", "worker", "device", "host"};

struct replica_sample {
  // Borrowed from the engine, which outlives the sample; null: nothing has been measured yet.
  const request_metrics* requests = nullptr;
  const recovery_metrics* recoveries = nullptr;
  const step_times* times = nullptr;

  std::string_view state = replica_states[0];
  std::uint32_t epoch = 0;  // the highest that was prepared
  std::int32_t workers = 0; // 0: it was given up
  std::int32_t workers_configured = 0;
  std::string lost_reason;   // why there are fewer than configured; empty: there are not
  std::int32_t running = 0;  // requests, at the last end of a step
  std::int32_t waiting = 0;  // the same
  std::int32_t kv_owned = 0; // blocks, the same
  std::int32_t kv_cached = 0;
  std::int32_t kv_total = 0;
  // Since there is this cluster: kept on the board, so a death of the process changes none of them.
  std::uint64_t worker_restarts = 0;
  std::uint64_t tokens_restored = 0;
  std::uint64_t tokens_computed_again = 0;
  std::uint64_t tokens_loaded = 0;
  std::uint64_t blocks_saved = 0;
  std::uint64_t blocks_unsaved = 0;
};

struct engine_sample {
  std::string model; // label model_name
  std::int32_t max_model_len = 0;
  std::vector<replica_sample> replicas;
  const refusal_metrics* refusals = nullptr; // as above
  std::uint64_t replicas_lost = 0;           // by this process
  // Replaced by their guardian, in this process.
  std::uint64_t router_restarts = 0;
  std::uint64_t scheduler_restarts = 0;
  std::uint64_t supervisor_restarts = 0;
  std::array<std::uint64_t, device_event_classes.size()> device_events{}; // heard by this process
  // On the board, as above.
  std::uint64_t reductions = 0;
  std::uint32_t node_starts = 0; // 0: processes are not supervised
  std::uint32_t vault_starts = 0;
  std::uint32_t spares_ready = 0; // spare workers that could be one at once
  std::uint32_t spares_preparing = 0;
  // The ledger.
  std::uint64_t ledger_unfinished = 0; // requests
  std::uint64_t ledger_finished = 0;
  std::uint64_t ledger_requests_max = 0; // unfinished ones
  std::uint64_t ledger_tokens = 0;       // reserved
  std::uint64_t ledger_tokens_max = 0;
  bool is_draining = false;
};

/// Of an engine that is not there yet.
[[nodiscard]] engine_sample
sample_before_start(std::string model, std::int32_t max_model_len, std::int32_t replicas);

/// P-1, P-2.
void describe(const engine_sample& sample, exposition& page);

} // namespace vdist::metrics
