#include "actors/system/cluster_metrics.hpp"

#include "actors/system/cluster.hpp"
#include "actors/system/cluster_details.hpp"

#include <utility>

namespace vdist::actors {

namespace {

metrics::replica_sample sample_replica(const cluster& from, std::size_t index) {
  const auto& replica = *from.replicas()[index];
  const auto stats = replica.scheduler_stats();
  auto capacity = from.capacity().of(index);
  return {.requests = &replica.requests(),
          .recoveries = &replica.recoveries(),
          .times = &replica.times(),
          .state = to_text(from.state_of(index)),
          .epoch = replica.highest_epoch(),
          .workers = capacity.workers,
          .workers_configured = capacity.configured,
          .lost_reason = std::move(capacity.reason),
          .running = stats.running,
          .waiting = stats.waiting,
          .kv_owned = stats.blocks_owned,
          .kv_cached = stats.blocks_cached,
          .kv_total = from.setup().limits.blocks,
          .worker_restarts = replica.restarts(),
          .tokens_restored = replica.kept().restored,
          .tokens_computed_again = replica.kept().computed_again,
          .tokens_loaded = replica.kept().loaded,
          .blocks_saved = replica.kept().blocks_saved,
          .blocks_unsaved = replica.kept().blocks_unsaved};
}

/// The first ones of `expected` replaced nobody.
std::uint64_t restarts_of(const metrics::counter& starts, std::size_t expected) {
  const auto started = metrics::read(starts);
  return started > expected ? started - expected : 0;
}

} // namespace

std::string served_name_of(const model_setup& setup) {
  const auto& name = setup.config.server.model_name;
  return !name.empty() ? name : !setup.folder.name.empty() ? setup.folder.name : "sim";
}

metrics::engine_sample sample_of(const cluster& from) {
  const auto replicas = from.replicas().size();
  const auto stats = from.journal().stats();
  const auto& limits = from.journal().limits();
  const auto& gauge = from.capacity().gauge();
  const auto* const board = from.board();
  metrics::engine_sample sample{
      .model = served_name_of(from.setup()),
      .max_model_len = from.setup().max_model_len,
      .refusals = &from.refusals(),
      .replicas_lost = gauge.replicas_lost,
      .router_restarts = restarts_of(from.starts().routers, 1),
      .scheduler_restarts = restarts_of(from.starts().schedulers, replicas),
      .supervisor_restarts = restarts_of(from.starts().supervisors, replicas),
      .reductions = gauge.reductions,
      .node_starts = board != nullptr ? board->node_starts.load() : 0,
      .vault_starts = board != nullptr ? board->vault_starts + board->vault_takeovers : 0,
      .ledger_unfinished = stats.unfinished,
      .ledger_finished = stats.finished,
      .ledger_requests_max = limits.requests_max,
      .ledger_tokens = stats.tokens_reserved,
      .ledger_tokens_max = limits.tokens_max};
  for (std::size_t i = 0; i < sample.device_events.size(); ++i) {
    sample.device_events.at(i) = metrics::read(from.device_events().at(i));
  }
  for (std::size_t index = 0; index < replicas; ++index) {
    sample.replicas.push_back(sample_replica(from, index));
  }
  return sample;
}

} // namespace vdist::actors
