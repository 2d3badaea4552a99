#include "actors/system/cluster_details.hpp"

#include "actors/control/protocol.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace vdist::actors {

namespace {

using control::kill_target;
using protocol::process_role;

process_role role_of(const kill_target& target) {
  switch (target.what) {
  case kill_target::kind::node:
    return process_role::control;
  case kill_target::kind::vault:
    return process_role::vault;
  case kill_target::kind::worker:
    break;
  }
  return process_role::worker;
}

std::vector<control::worker_details>
describe_workers(const model_setup& setup,
                 const replica_status& status,
                 std::span<const host::process_info> processes) {
  std::vector<control::worker_details> workers;
  const auto ranks = setup.layout->ranks_of_replica(status.replica);
  for (std::size_t slot = 0; slot < ranks.size() && slot < status.incarnations.size(); ++slot) {
    const auto at = setup.layout->at(ranks[slot]);
    const protocol::process_key key{.role = process_role::worker,
                                    .rank = ranks[slot].value,
                                    .incarnation = status.incarnations[slot]};
    const auto process = std::find_if(
        processes.begin(), processes.end(), [&key](const auto& one) { return one.key == key; });
    workers.push_back({.rank = ranks[slot].value,
                       .stage = at.pipeline,
                       .tensor = at.tensor,
                       .state = status.worker_states.at(slot),
                       .incarnation = key.incarnation,
                       .pid = process == processes.end() ? 0 : process->pid});
  }
  return workers;
}

control::capacity_details describe_capacity(const replica_capacity& capacity, time_point now) {
  const auto since = capacity.since.value_or(now);
  return {.workers = capacity.workers,
          .configured = capacity.configured,
          .since_s = std::chrono::duration<double>(now - since).count(),
          .reason = capacity.reason};
}

} // namespace

std::string_view to_text(replica_state state) {
  switch (state) {
  case replica_state::loading:
    return "loading";
  case replica_state::running:
    return "running";
  case replica_state::recovering:
  case replica_state::restarted:
    return "recovering";
  case replica_state::failed:
  case replica_state::ended:
    return "failed";
  }
  return "unknown";
}

std::uint64_t control_ns_of(const metrics::step_times& times) {
  const auto compute_ns = times.compute_us * 1000;
  const std::uint64_t collect_ns = times.collect_ns;
  return times.plan_ns + times.send_ns + times.commit_ns
         + (collect_ns > compute_ns ? collect_ns - compute_ns : 0);
}

control::cluster_status describe_cluster(const model_setup& setup) {
  const auto& sizes = setup.layout->sizes();
  control::cluster_status status{.name = setup.config.cluster.name,
                                 .model = setup.model ? setup.folder.name : "(simulated)",
                                 .device = std::string(config::to_string(setup.device)),
                                 .data = sizes.data,
                                 .pipeline = sizes.pipeline,
                                 .tensor = sizes.tensor};
  for (const auto& range : setup.layout->stages()) {
    status.stages.push_back({range.first, range.last});
  }
  return status;
}

control::replica_details describe_replica(const model_setup& setup,
                                          const replica_view& view,
                                          std::span<const host::process_info> processes) {
  const std::uint64_t steps = view.times->steps;
  const auto control_ns = static_cast<double>(control_ns_of(*view.times));
  const bool is_known = !view.status.incarnations.empty();
  return {.replica = view.status.replica,
          .state = std::string(is_known ? to_text(view.status.state) : "unknown"),
          .epoch = view.status.now.value,
          .restarts = view.status.restarts,
          .running = view.scheduler.running,
          .waiting = view.scheduler.waiting,
          .kv_used = view.scheduler.blocks_owned,
          .kv_cached = view.scheduler.blocks_cached,
          .kv_total = setup.limits.blocks,
          .steps = steps,
          .tokens = view.times->tokens,
          .control_us_per_step = steps == 0 ? 0 : control_ns / 1000 / static_cast<double>(steps),
          .capacity = describe_capacity(view.capacity, view.now),
          .workers = describe_workers(setup, view.status, processes)};
}

control::capacity_details sum_of_capacities(std::span<const control::replica_details> replicas) {
  control::capacity_details all;
  for (const auto& one : replicas) {
    all.workers += one.capacity.workers;
    all.configured += one.capacity.configured;
    const bool is_later = all.reason.empty() || one.capacity.since_s < all.since_s;
    if (!one.capacity.reason.empty() && is_later) {
      all.since_s = one.capacity.since_s;
      all.reason = one.capacity.reason;
    }
  }
  return all;
}

control::ledger_page
describe_ledger(const ledger::ledger& journal, std::size_t max, time_point now) {
  const auto stats = journal.stats();
  const auto held = journal.list(std::numeric_limits<std::size_t>::max());
  control::ledger_page page{
      .unfinished = stats.unfinished, .finished = stats.finished, .lines = {}};
  for (auto i = held.size() - std::min(held.size(), max); i < held.size(); ++i) {
    const auto& entry = held[i];
    page.lines.push_back({.id = entry.id.value,
                          .prompt_tokens = entry.prompt_tokens,
                          .max_tokens = entry.max_tokens,
                          .committed = entry.committed,
                          .reason = std::string(protocol::to_string(entry.reason)),
                          .age_s = std::chrono::duration<double>(now - entry.accepted).count()});
  }
  return page;
}

result<void> check_target(const kill_target& target,
                          const model_setup& setup,
                          std::span<const host::process_info> processes) {
  const bool is_worker = target.what == kill_target::kind::worker;
  const auto world = setup.layout->world();
  if (is_worker ? target.rank >= 0 && target.rank < world : !processes.empty()) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("kill: no such target here: {} (legal: worker 0 to worker {}{})",
                          control::to_string(target),
                          world - 1,
                          processes.empty() ? "" : ", node, vault"));
}

result<host::process_info> find_process(const kill_target& target,
                                        std::span<const host::process_info> processes) {
  const host::process_info* newest = nullptr; // those before it may not be over yet
  for (const auto& one : processes) {
    const bool is_meant = one.key.role == role_of(target) && one.key.rank == target.rank;
    if (is_meant && (newest == nullptr || one.key.incarnation > newest->key.incarnation)) {
      newest = &one;
    }
  }
  if (newest != nullptr) {
    return *newest;
  }
  return fail(errc::not_found,
              fmt::format("kill: {} is being replaced", control::to_string(target)));
}

} // namespace vdist::actors
